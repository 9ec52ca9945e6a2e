//! A service small enough to write by hand: strings in, strings out.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt as _, stream};
use http::uri::PathAndQuery;
use http::{Request, Response};
use opentelemetry::trace::TraceContextExt as _;
use pentad_api::{Connection, Right};
use pentad_service_kit::sized;
use pentad_service_kit::stack::{Method, MethodTable};
use tokio::sync::watch;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService};
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Says it back.
pub const SAY: &str = "/test.Echo/Say";
/// Answers once the test wakes it.
pub const NAP: &str = "/test.Echo/Nap";
/// Says a text of so many bytes.
pub const GROW: &str = "/test.Echo/Grow";
/// Panics.
pub const PANIC: &str = "/test.Echo/Panic";
/// The trace id of its own span.
pub const TRACE: &str = "/test.Echo/Trace";
/// Asks the service behind `relay` for `TRACE`, and says both ids.
pub const RELAY: &str = "/test.Echo/Relay";
/// A number every 10 ms, for ever.
pub const COUNT: &str = "/test.Echo/Count";
/// Served, and declares no right.
pub const UNDECLARED: &str = "/test.Echo/Undeclared";

#[derive(Clone)]
pub struct Echo {
    /// How many naps have begun.
    pub naps: Arc<watch::Sender<usize>>,
    /// Naps end when this is true.
    pub awake: Arc<watch::Sender<bool>>,
    pub relay: Option<Connection>,
    pub decode_max: Option<usize>,
    pub encode_max: Option<usize>,
}

impl Echo {
    pub fn new() -> Self {
        sized!(Self {
            naps: Arc::new(watch::Sender::new(0)),
            awake: Arc::new(watch::Sender::new(false)),
            relay: None,
            decode_max: None,
            encode_max: None,
        })
    }

    /// As on a generated server.
    fn max_decoding_message_size(mut self, bytes: usize) -> Self {
        self.decode_max = Some(bytes);
        self
    }

    fn max_encoding_message_size(mut self, bytes: usize) -> Self {
        self.encode_max = Some(bytes);
        self
    }

    /// Waits until `count` naps have begun.
    pub async fn napping(&self, count: usize) {
        self.naps.subscribe().wait_for(|naps| *naps >= count).await.expect("the service lives");
    }

    pub fn wake(&self) {
        self.awake.send_replace(true);
    }

    pub fn methods() -> MethodTable {
        let declared = MethodTable::declared(true, true);
        MethodTable::new(move |path| match path {
            COUNT => Some(Method { right: Right::Read, streaming: true }),
            UNDECLARED => None,
            _ if path.starts_with("/test.Echo/") => {
                Some(Method { right: Right::Spend, streaming: false })
            }
            _ => declared.get(path),
        })
    }

    async fn answer(self, path: String, text: String) -> Result<tonic::Response<String>, Status> {
        let answer = match path.as_str() {
            SAY | UNDECLARED => text,
            NAP => {
                let mut awake = self.awake.subscribe();
                self.naps.send_modify(|naps| *naps += 1);
                awake.wait_for(|awake| *awake).await.expect("the service lives");
                text
            }
            GROW => "x".repeat(text.parse().expect("a number")),
            PANIC => panic!("asked to"),
            TRACE => trace_id(),
            RELAY => {
                let relay = self.relay.expect("a relay");
                format!("{} {}", trace_id(), say(&relay, TRACE, "").await?)
            }
            _ => return Err(Status::unimplemented("")),
        };
        Ok(tonic::Response::new(answer))
    }
}

fn trace_id() -> String {
    tracing::Span::current().context().span().span_context().trace_id().to_string()
}

fn count() -> impl Stream<Item = Result<String, Status>> + Send + 'static {
    stream::unfold(0_u64, |number| async move {
        tokio::time::sleep(Duration::from_millis(10)).await;
        Some((Ok(number.to_string()), number + 1))
    })
}

impl NamedService for Echo {
    const NAME: &'static str = "test.Echo";
}

impl Service<Request<Body>> for Echo {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let echo = self.clone();
        Box::pin(async move {
            let path = request.uri().path().to_owned();
            let mut grpc = Grpc::new(ProstCodec::<String, String>::default())
                .apply_max_message_size_config(echo.decode_max, echo.encode_max);
            Ok(if path == COUNT {
                let count = service_fn(|_: tonic::Request<String>| async {
                    Ok::<_, Status>(tonic::Response::new(count().boxed()))
                });
                grpc.server_streaming(count, request).await
            } else {
                let answer = service_fn(|request: tonic::Request<String>| {
                    echo.clone().answer(path.clone(), request.into_inner())
                });
                grpc.unary(answer, request).await
            })
        })
    }
}

type Client = tonic::client::Grpc<Connection>;

/// Without limits of its own: the server's are under test.
async fn client(connection: &Connection) -> Client {
    let mut client = Client::new(connection.clone()).max_decoding_message_size(usize::MAX);
    client.ready().await.expect("a connection");
    client
}

/// A unary call.
pub async fn say(
    connection: &Connection,
    path: &'static str,
    text: &str,
) -> Result<String, Status> {
    call(connection, path, tonic::Request::new(text.to_owned())).await
}

/// A unary call whose metadata the caller made.
pub async fn call(
    connection: &Connection,
    path: &'static str,
    request: tonic::Request<String>,
) -> Result<String, Status> {
    let codec = ProstCodec::<String, String>::default();
    let path = PathAndQuery::from_static(path);
    let response = client(connection).await.unary(request, path, codec).await?;
    Ok(response.into_inner())
}

/// A stream of numbers.
pub async fn listen(connection: &Connection) -> Result<Streaming<String>, Status> {
    listen_with(connection, tonic::Request::new(String::new())).await
}

/// A stream of numbers; the caller made the metadata.
pub async fn listen_with(
    connection: &Connection,
    request: tonic::Request<String>,
) -> Result<Streaming<String>, Status> {
    let codec = ProstCodec::<String, String>::default();
    let path = PathAndQuery::from_static(COUNT);
    Ok(client(connection).await.server_streaming(request, path, codec).await?.into_inner())
}
