//! One HTTP/2 connection, from its first byte to its last.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tonic::body::Body;
use tonic::transport::server::Connected as _;
use tower::ServiceExt as _;

use crate::limits::Limits;
use crate::stack::{Phases, Stack};

/// `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n` (RFC 9113, 3.4).
const PREFACE_BYTES: usize = 24;

/// After an abort every call ends by itself; this is for telling the clients so.
const FAREWELL_TIME: Duration = Duration::from_millis(500);

/// Serves calls until the client leaves, the server drains and the last call is done, or the server
/// aborts.
pub(super) async fn serve(stream: TcpStream, stack: Stack, limits: Limits, phases: Phases) {
    let info = stream.connect_info();
    let service = stack.map_request(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(info.clone());
        request
    });
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .max_concurrent_streams(limits.connection_streams_max)
        .max_header_list_size(limits.header_bytes_max)
        .keep_alive_interval(limits.keepalive_interval)
        .keep_alive_timeout(limits.keepalive_timeout);
    let io = TokioIo::new(Greeted::new(stream, &limits));
    let connection = http.serve_connection(io, TowerToHyperService::new(service));
    tokio::pin!(connection);
    let cut_off = async {
        phases.aborted.cancelled().await;
        tokio::time::sleep(FAREWELL_TIME).await;
    };
    tokio::pin!(cut_off);
    let mut draining = false;
    let outcome = loop {
        tokio::select! {
            outcome = &mut connection => break outcome,
            () = phases.draining.cancelled(), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            () = &mut cut_off => return,
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "connection failed");
    }
}

/// A stream that must say hello in time: connections that never speak would fill up the server.
struct Greeted {
    stream: TcpStream,
    awaited: usize,
    patience: Pin<Box<Sleep>>,
}

impl Greeted {
    fn new(stream: TcpStream, limits: &Limits) -> Self {
        let patience = Box::pin(tokio::time::sleep(limits.handshake_time_max));
        Self { stream, awaited: PREFACE_BYTES, patience }
    }
}

impl AsyncRead for Greeted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.awaited > 0 && self.patience.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let read = buffer.filled().len().saturating_sub(before);
        self.awaited = self.awaited.saturating_sub(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Greeted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
