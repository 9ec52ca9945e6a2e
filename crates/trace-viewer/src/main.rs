//! `pentad-trace-viewer`: see the library.

use std::io;
use std::net::SocketAddr;

use clap::Parser;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::TraceServiceServer;
use pentad_trace_viewer::{Spans, serve_page};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

/// Takes traces over OTLP/gRPC and shows them on a page. It keeps the last of them in memory and
/// asks nobody for a credential: loopback, or a network of its own.
#[derive(Parser)]
struct Args {
    /// Where nodes send spans
    #[arg(long, default_value = "127.0.0.1:4317")]
    otlp: SocketAddr,
    /// Where the page is
    #[arg(long, default_value = "127.0.0.1:4316")]
    page: SocketAddr,
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let args = Args::parse();
    let spans = Spans::default();
    let otlp = TcpListener::bind(args.otlp).await?;
    let page = TcpListener::bind(args.page).await?;
    println!("traces are taken at http://{}", otlp.local_addr()?);
    println!("and shown at http://{}/", page.local_addr()?);
    let server = Server::builder().add_service(TraceServiceServer::new(spans.clone()));
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        served = server.serve_with_incoming(TcpListenerStream::new(otlp)) => {
            served.map_err(io::Error::other)
        }
        () = serve_page(page, spans) => Ok(()),
        // Nothing is worth waiting for: all of it is in memory alone.
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}
