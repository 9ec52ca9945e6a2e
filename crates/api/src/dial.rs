//! TCP with TLS, by what is in the files now.

use std::error::Error as StdError;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use pentad_trust::Tls;
use tokio::io::AsyncBufReadExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tower::{Service, ServiceExt as _};

type BoxError = Box<dyn StdError + Send + Sync>;
type BoxFuture<T> = std::pin::Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

const HTTPS_PORT: u16 = 443;
/// Patience for a server's first bytes. In TLS 1.3 a client is done before the server has looked at
/// its certificate; whoever waits hears the reason of a refusal, while HTTP/2 would hand on that
/// the connection broke. Servers of HTTP/2 send their settings at once; one, or a proxy, that waits
/// for the client to begin costs every dial this long. A refusal that takes longer, as on a busy
/// machine, loses its reason, and only that.
const FIRST_WORD_TIME: Duration = Duration::from_secs(1);

/// A channel over TLS. When certificate, key or authorities change, later calls go over a new
/// connection; those under way end on the old one.
#[derive(Clone)]
pub struct TlsChannel {
    endpoint: Endpoint,
    tls: Tls,
    current: Arc<Mutex<(u64, Channel)>>,
}

impl TlsChannel {
    /// Connects at the first call.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn lazy(endpoint: Endpoint, tls: Tls) -> Self {
        let generation = tls.generation();
        let channel = endpoint.connect_with_connector_lazy(Dial(Arc::clone(&tls)));
        Self { endpoint, tls, current: Arc::new(Mutex::new((generation, channel))) }
    }

    /// A std mutex is right: it is held for a few instructions and never across an await.
    fn channel(&self) -> Channel {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = self.tls.generation();
        if current.0 != generation {
            let dial = Dial(Arc::clone(&self.tls));
            *current = (generation, self.endpoint.connect_with_connector_lazy(dial));
        }
        current.1.clone()
    }
}

impl Service<Request<Body>> for TlsChannel {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<Response<Body>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let channel = self.channel();
        Box::pin(async move { Ok(channel.oneshot(request).await?) })
    }
}

/// Opens connections.
struct Dial(Tls);

impl Service<Uri> for Dial {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = BoxError;
    type Future = BoxFuture<Self::Response>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let tls = Arc::clone(&self.0);
        Box::pin(async move {
            let host = uri.host().ok_or("the address names no host")?;
            let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            let port = uri.port_u16().unwrap_or(HTTPS_PORT);
            let config = tls.current().client.clone().ok_or("no authority is known")?;
            let stream = TcpStream::connect((host.as_str(), port)).await?;
            stream.set_nodelay(true)?;
            let name = ServerName::try_from(host)?;
            let mut stream = TlsConnector::from(config).connect(name, stream).await?;
            // A server whose time has not come to speak is heard later.
            if let Ok(heard) = tokio::time::timeout(FIRST_WORD_TIME, stream.fill_buf()).await {
                heard?;
            }
            Ok(TokioIo::new(stream))
        })
    }
}
