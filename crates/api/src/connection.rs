//! How one service reaches another.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderValue};
use http::{HeaderMap, Request, Response};
use pentad_trust::Tls;
use thiserror::Error;
use tonic::Status;
use tonic::body::Body;
use tonic::transport::Endpoint;
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceExt as _};

use crate::dial::TlsChannel;

/// How long a connection may take to open, its TLS handshake included: a service on the same
/// network answers in milliseconds, and a dead one must not hold its callers.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Pings on an idle HTTP/2 connection, so that a peer that vanished is noticed.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// How long an HTTP/2 ping may go unanswered.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

type BoxError = Box<dyn StdError + Send + Sync>;
type Transport = BoxCloneSyncService<Request<Body>, Response<Body>, BoxError>;
type HeaderHook = Arc<dyn Fn(&mut HeaderMap) + Send + Sync>;

/// A transport for the generated clients: HTTP/2 over TCP, or a tower service in this process
/// that is called directly (no HTTP/2, about 5 µs a call). Cheap to clone.
///
/// ```
/// use pentad_api::{Connection, chain::v1::chain_service_client::ChainServiceClient};
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let connection = Connection::lazy("http://127.0.0.1:9992").expect("a valid address");
/// let client = ChainServiceClient::new(connection);
/// # drop(client); }
/// ```
#[derive(Clone)]
pub struct Connection {
    transport: Transport,
    credential: Option<HeaderValue>,
    hook: Option<HeaderHook>,
}

/// Why a [`Connection`] cannot be made.
#[derive(Debug, Error)]
pub enum ConnectionError {
    /// Not of the form `http://host:port` or `https://host:port`.
    #[error(
        "invalid service address {address:?}: expected http://host:port, or https://host:port for \
         TLS"
    )]
    Address {
        /// What was given.
        address: String,
    },
    /// TLS is asked for, and there is nothing to know the server by.
    #[error("{address} asks for TLS, and no authority is known: name its file (tls.authority)")]
    NoAuthority {
        /// What was given.
        address: String,
    },
    /// A credential with characters that a header cannot carry.
    #[error("the credential holds characters that a header cannot carry")]
    Credential,
}

impl Connection {
    /// Connects over TCP at the first call, and again whenever the connection is lost.
    ///
    /// # Errors
    /// When `address` is not of the form `http://host:port`.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn lazy(address: &str) -> Result<Self, ConnectionError> {
        Self::open(address, None)
    }

    /// As [`Connection::lazy`], and with TLS where the address begins with `https://`.
    ///
    /// # Errors
    /// When `address` is none, or asks for TLS and no authority is known.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn open(address: &str, tls: Option<&Tls>) -> Result<Self, ConnectionError> {
        let wrong = || ConnectionError::Address { address: address.to_owned() };
        let endpoint = Endpoint::from_shared(address.to_owned()).map_err(|_| wrong())?;
        let endpoint = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .tcp_nodelay(true);
        match endpoint.uri().scheme_str() {
            Some("http") => Ok(Self::over(endpoint.connect_lazy().map_err(BoxError::from))),
            Some("https") => match tls.filter(|tls| tls.current().client.is_some()) {
                Some(tls) => Ok(Self::over(TlsChannel::lazy(endpoint, Arc::clone(tls)))),
                None => Err(ConnectionError::NoAuthority { address: address.to_owned() }),
            },
            _ => Err(wrong()),
        }
    }

    /// Calls a tower service of this process directly.
    pub fn in_process<S>(service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        Self::over(service.map_err(|never: Infallible| match never {}))
    }

    /// Sends each call to the connection of the service that it is for: `wallet` stands for the
    /// methods of package `pentad.wallet.v1`. Others are UNAVAILABLE.
    #[must_use]
    pub fn by_service(parts: BTreeMap<String, Self>) -> Self {
        Self::over(tower::service_fn(move |request: Request<Body>| {
            let service = service_of(request.uri().path());
            let part = service.and_then(|service| parts.get(service)).cloned();
            async move {
                match part {
                    Some(part) => part.oneshot(request).await,
                    None => {
                        let path = request.uri().path();
                        let text = format!("no address is known of the service of {path}");
                        Err(Status::unavailable(text).into())
                    }
                }
            }
        }))
    }

    fn over<S>(service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = BoxError>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        Self { transport: BoxCloneSyncService::new(service), credential: None, hook: None }
    }

    /// Sends `authorization: Bearer <token>` with every call.
    ///
    /// # Errors
    /// When the token holds characters that a header cannot carry.
    pub fn with_credential(mut self, token: &str) -> Result<Self, ConnectionError> {
        let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| ConnectionError::Credential)?;
        value.set_sensitive(true);
        self.credential = Some(value);
        Ok(self)
    }

    /// Lets `hook` add headers to every call, for instance the trace context.
    #[must_use]
    pub fn with_header_hook(
        mut self,
        hook: impl Fn(&mut HeaderMap) + Send + Sync + 'static,
    ) -> Self {
        self.hook = Some(Arc::new(hook));
        self
    }
}

impl Service<Request<Body>> for Connection {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = <Transport as Service<Request<Body>>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.transport.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if let Some(credential) = &self.credential {
            request.headers_mut().insert(AUTHORIZATION, credential.clone());
        }
        if let Some(hook) = &self.hook {
            hook(request.headers_mut());
        }
        self.transport.call(request)
    }
}

/// `/pentad.wallet.v1.WalletService/Send` is for `wallet`.
fn service_of(path: &str) -> Option<&str> {
    path.strip_prefix("/pentad.")?.split('.').next()
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("has_credential", &self.credential.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lazy_refuses_what_is_no_address() {
        for address in ["", "localhost", "/path", "http://"] {
            assert!(Connection::lazy(address).is_err(), "{address:?} was accepted");
        }
        assert!(Connection::lazy("http://127.0.0.1:1").is_ok());
        let error = Connection::lazy("https://127.0.0.1:1").expect_err("no authority");
        assert!(matches!(error, ConnectionError::NoAuthority { .. }), "{error}");
    }

    #[tokio::test]
    async fn each_call_goes_to_the_service_that_it_is_for() {
        let named = |name: &'static str| {
            let service = tower::service_fn(move |_: Request<Body>| async move {
                let answer = Response::builder().header("from", name).body(Body::empty());
                Ok::<_, Infallible>(answer.expect("valid"))
            });
            (name.to_owned(), Connection::in_process(service))
        };
        let connection = Connection::by_service(["chain", "wallet"].map(named).into());
        let call = async |path: &str| {
            let request = Request::builder().uri(path).body(Body::empty()).expect("valid");
            connection.clone().oneshot(request).await
        };
        for (path, name) in [
            ("/pentad.wallet.v1.WalletService/Send", "wallet"),
            ("/pentad.wallet.v1.KeystoreService/Sign", "wallet"),
            ("/pentad.chain.v1.SubmitService/SubmitTransaction", "chain"),
        ] {
            assert_eq!(call(path).await.expect(path).headers()["from"], name, "{path}");
        }
        for path in ["/pentad.peer.v1.PeerService/GetSelf", "/grpc.health.v1.Health/Check"] {
            let error = call(path).await.expect_err(path);
            assert!(error.to_string().contains(path), "{error}");
        }
    }

    #[tokio::test]
    async fn credential_and_hook_reach_the_service() {
        let service = tower::service_fn(|request: Request<Body>| async move {
            let mut response = Response::new(Body::empty());
            *response.headers_mut() = request.headers().clone();
            Ok::<_, Infallible>(response)
        });
        let mut connection = Connection::in_process(service)
            .with_credential("secret")
            .expect("a plain token")
            .with_header_hook(|headers| {
                headers.insert("traceparent", HeaderValue::from_static("00-1"));
            });
        assert!(!format!("{connection:?}").contains("secret"));
        let response = connection
            .ready()
            .await
            .expect("always ready")
            .call(Request::new(Body::empty()))
            .await
            .expect("infallible");
        assert_eq!(response.headers()[AUTHORIZATION], "Bearer secret");
        assert_eq!(response.headers()["traceparent"], "00-1");
    }
}
