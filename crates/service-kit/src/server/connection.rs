//! One HTTP/2 connection, from its first byte to its last.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use pentad_trust::Tls;
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_rustls::TlsAcceptor;
use tonic::body::Body;
use tower::ServiceExt as _;

use crate::limits::Limits;
use crate::stack::{ClientCertificate, Origin, Phases, Stack};

/// `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n` (RFC 9113, 3.4).
const PREFACE_BYTES: usize = 24;

/// After an abort every call ends by itself; this is for telling the clients so.
const FAREWELL_TIME: Duration = Duration::from_millis(500);

/// A connection that has just been accepted.
pub(super) struct Arrival {
    pub(super) stack: Stack,
    pub(super) limits: Limits,
    pub(super) phases: Phases,
    pub(super) failed_handshakes: Counter,
    pub(super) address: IpAddr,
}

impl Arrival {
    /// Serves calls until the client leaves, the server drains and the last call is done, or the
    /// server aborts.
    pub(super) async fn serve(self, stream: TcpStream, tls: Option<Tls>) {
        let Some(tls) = tls.filter(|tls| tls.current().server.is_some()) else {
            return self.serve_http(stream, None).await;
        };
        // Asked before the configuration is taken: should both change in between, the certificate
        // is only checked once more.
        let generation = tls.generation();
        let Some(config) = tls.current().server.clone() else { return };
        let handshake = TlsAcceptor::from(config).accept(stream);
        let handshake = tokio::time::timeout(self.limits.handshake_time_max, handshake);
        let Some(shaken) = self.phases.draining.run_until_cancelled(handshake).await else {
            return;
        };
        let stream = match shaken {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return self.refuse(&error),
            Err(_) => return self.refuse(&"out of time"),
        };
        let chain = stream.get_ref().1.peer_certificates();
        let certificate = match chain.map(|chain| ClientCertificate::new(chain, generation)) {
            Some(None) => return self.refuse(&"the client's certificate cannot be read"),
            Some(certificate) => certificate.map(Arc::new),
            None => None,
        };
        self.serve_http(stream, certificate).await;
    }

    fn refuse(&self, error: &dyn fmt::Display) {
        self.failed_handshakes.inc();
        tracing::debug!(client = %self.address, %error, "TLS handshake failed");
    }

    async fn serve_http<S>(self, stream: S, certificate: Option<Arc<ClientCertificate>>)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let Self { stack, limits, phases, address, .. } = self;
        let stack = stack.for_calls_from(Origin::Remote { address, certificate });
        let service = stack.map_request(|request: Request<Incoming>| request.map(Body::new));
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
}

/// A stream that must say hello in time: connections that never speak would fill up the server.
struct Greeted<S> {
    stream: S,
    awaited: usize,
    patience: Pin<Box<Sleep>>,
}

impl<S> Greeted<S> {
    fn new(stream: S, limits: &Limits) -> Self {
        let patience = Box::pin(tokio::time::sleep(limits.handshake_time_max));
        Self { stream, awaited: PREFACE_BYTES, patience }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Greeted<S> {
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

impl<S: AsyncWrite + Unpin> AsyncWrite for Greeted<S> {
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
