//! A server of the proto that no line of this program knows, called over the wire.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use pentad_api::Connection;
use prost_reflect::{DynamicMessage, MethodDescriptor};
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::server::{Grpc, StreamingService};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Status, Streaming};

use super::call::{Outgoing, send};
use super::codec::DynamicCodec;
use super::fixture::{call, schema};
use super::render::Rendered;
use super::request::Requests;
use super::schema::Schema;

/// Answers each thing asked for with its price, its parts and its color; a thing named "nothing"
/// cannot be made.
#[derive(Clone)]
struct Workshop(Schema);

impl tower::Service<Request<Body>> for Workshop {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let methods = self.0.services().into_iter().flat_map(|it| it.methods().collect::<Vec<_>>());
        let path = request.uri().path().to_owned();
        let is_meant = |method: &MethodDescriptor| {
            path == format!("/{}/{}", method.parent_service().full_name(), method.name())
        };
        let found = methods.into_iter().find(is_meant);
        async move {
            let Some(method) = found else {
                return Ok(Status::unimplemented(path).into_http());
            };
            let codec = DynamicCodec::of_requests(&method);
            Ok(Grpc::new(codec).streaming(Bench(method), request).await)
        }
        .boxed()
    }
}

impl tonic::server::NamedService for Workshop {
    const NAME: &'static str = "pentad.fixture.v1.WorkshopService";
}

struct Bench(MethodDescriptor);

impl Bench {
    fn make(method: &MethodDescriptor, thing: &DynamicMessage) -> Result<DynamicMessage, Status> {
        let field = |name: &str| thing.get_field_by_name(name).expect("of the fixture");
        if field("name").as_str() == Some("nothing") {
            return Err(Status::invalid_argument("nothing cannot be made"));
        }
        let mut made = DynamicMessage::new(method.output());
        for name in ["price", "parts", "color"] {
            made.set_field_by_name(name, field(name).into_owned());
        }
        Ok(made)
    }
}

impl StreamingService<DynamicMessage> for Bench {
    type Response = DynamicMessage;
    type ResponseStream = stream::BoxStream<'static, Result<DynamicMessage, Status>>;
    type Future = BoxFuture<'static, Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<DynamicMessage>>) -> Self::Future {
        let method = self.0.clone();
        let things = request.into_inner();
        let made = things.map(move |thing| Self::make(&method, &thing?)).boxed();
        async move { Ok(tonic::Response::new(made)) }.boxed()
    }
}

async fn serve() -> Connection {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = Server::builder().add_service(Workshop(schema()));
    // Ends with the test's runtime.
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    Connection::lazy(&format!("http://{address}")).expect("an address")
}

/// What `pentad LINE` prints for scripts and for people.
async fn answers(connection: Connection, line: &str) -> Result<Vec<(String, String)>, Status> {
    let schema = schema();
    let line: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let call = call(&schema, &line).expect("a call");
    let Requests::One(request) = call.requests else { panic!("flags give one request") };
    let requests: Outgoing = stream::iter([request]).boxed();
    let mut answers = send(connection, &call.method, requests, call.timeout).await?;
    let mut printed = Vec::new();
    while let Some(answer) = answers.message().await? {
        let rendered = Rendered::new(&schema, &answer, call.method.is_server_streaming());
        let json = serde_json::to_string(&rendered).expect("JSON");
        printed.push((json, crate::console::Answer::to_table(&rendered)));
    }
    Ok(printed)
}

#[tokio::test]
async fn a_new_proto_is_called_over_the_wire() {
    let connection = serve().await;
    let flags = "--price 0.5 --color blue --parts name=axle,price=0.25";
    let json =
        r#"{"price":"50000000","parts":[{"name":"axle","price":"25000000"}],"color":"COLOR_BLUE"}"#;
    let made = answers(connection.clone(), &format!("workshop make-thing {flags}")).await;
    let made = made.expect("an answer");
    assert_eq!(made.len(), 1);
    assert_eq!(made[0].0, json);
    assert!(made[0].1.starts_with("price  0.50000000\ncolor  blue\n\nparts: 1\n"), "{}", made[0].1);

    let refused = answers(connection, "workshop make-thing --name nothing").await;
    assert_eq!(refused.expect_err("a no").message(), "nothing cannot be made");
}

#[tokio::test]
async fn a_new_stream_is_called_over_the_wire() {
    let connection = serve().await;
    let schema = schema();
    let methods = schema.services().into_iter().flat_map(|it| it.methods().collect::<Vec<_>>());
    let follow = methods.into_iter().find(|method| method.name() == "FollowThings");
    let follow = follow.expect("of the fixture");
    let thing = |price: u64| {
        let json = format!(r#"{{"price":"{price}"}}"#);
        super::value::json(&follow.input(), &json).expect("a request")
    };
    let requests: Outgoing = stream::iter([thing(1), thing(2), thing(3)]).boxed();
    let mut answers = send(connection, &follow, requests, None).await.expect("a stream");
    for price in 1..=3 {
        let answer = answers.message().await.expect("an answer").expect("one more");
        let rendered = Rendered::new(&schema, &answer, true);
        let json = serde_json::to_string(&rendered).expect("JSON");
        assert_eq!(json, format!(r#"{{"price":"{price}"}}"#));
    }
    assert!(answers.message().await.expect("an end").is_none());
}
