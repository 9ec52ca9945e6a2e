//! Attack 52: no, wrong and right credentials; methods without a declared right. Attack 53:
//! reflection only if asked for.

use pentad_api::{Connection, status};
use pentad_service_kit::{Metrics, Server};
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServiceResponse};

use crate::echo::{SAY, UNDECLARED, call, say};
use crate::rig::Rig;

/// With this `authorization` header, or none.
async fn say_as(
    connection: &Connection,
    path: &'static str,
    authorization: Option<&str>,
) -> Result<String, Code> {
    let mut request = Request::new("hello".to_owned());
    if let Some(value) = authorization {
        request.metadata_mut().insert("authorization", value.parse().expect("a header value"));
    }
    call(connection, path, request).await.map_err(|status| status.code())
}

#[tokio::test]
async fn rights_matrix_over_tcp_and_in_process() {
    let rig = Rig::start().await;
    let cookie = rig.gate.cookie().reveal().to_owned();
    let other = "0".repeat(cookie.len());
    let cases = [
        (None, Err(Code::Unauthenticated)),
        (Some(format!("Bearer {other}")), Err(Code::Unauthenticated)),
        (Some(format!("Bearer {}", &cookie[1..])), Err(Code::Unauthenticated)),
        (Some("Bearer".to_owned()), Err(Code::Unauthenticated)),
        (Some(cookie.clone()), Err(Code::Unauthenticated)),
        (Some(format!("Basic {cookie}")), Err(Code::Unauthenticated)),
        (Some(format!("Bearer {cookie}")), Ok("hello".to_owned())),
        (Some(format!("bearer {cookie}")), Ok("hello".to_owned())),
    ];
    let in_process = Connection::in_process(rig.in_process.clone());
    for connection in [rig.stranger(), in_process] {
        for (authorization, expected) in &cases {
            let outcome = say_as(&connection, SAY, authorization.as_deref()).await;
            assert_eq!(&outcome, expected, "{authorization:?}");
            let undeclared = say_as(&connection, UNDECLARED, authorization.as_deref()).await;
            assert_eq!(undeclared, Err(Code::PermissionDenied), "{authorization:?}");
            let unknown = say_as(&connection, "/no.Such/Method", authorization.as_deref()).await;
            assert_eq!(unknown, Err(Code::PermissionDenied), "{authorization:?}");
        }
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_refused_caller_learns_where_the_cookie_is() {
    let rig = Rig::start().await;
    let status = say(&rig.stranger(), SAY, "").await.expect_err("refused");
    let explanation = status::explain(&status);
    assert_eq!(explanation.reason, "NO_CREDENTIAL");
    let hint = explanation.hint.expect("a hint");
    assert!(hint.contains(&rig.cookie_file.display().to_string()), "{hint}");
    assert!(!hint.contains(rig.gate.cookie().reveal()), "{hint}");
    rig.stop().await;
}

#[tokio::test]
async fn health_needs_no_credential() {
    let rig = Rig::start().await;
    let request = HealthCheckRequest { service: String::new() };
    HealthClient::new(rig.stranger()).check(request).await.expect("open");
    rig.stop().await;
}

async fn services(connection: Connection) -> Result<Vec<String>, tonic::Status> {
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut replies = ServerReflectionClient::new(connection)
        .server_reflection_info(tokio_stream::once(request))
        .await?
        .into_inner();
    match replies.message().await?.and_then(|reply| reply.message_response) {
        Some(MessageResponse::ListServicesResponse(list)) => {
            Ok(list.service.into_iter().map(|ServiceResponse { name }| name).collect())
        }
        other => panic!("unexpected {other:?}"),
    }
}

#[tokio::test]
async fn reflection_lists_services_where_it_is_on() {
    let rig = Rig::start().await;
    let names = services(rig.stranger()).await.expect("open");
    assert!(names.contains(&"pentad.chain.v1.ChainService".to_owned()), "{names:?}");
    assert!(names.contains(&"grpc.health.v1.Health".to_owned()), "{names:?}");
    let off = Server::new(rig.gate.clone(), Metrics::new()).reflection(false);
    let stack = off.stack(Default::default()).expect("built");
    let status = services(stack.connection()).await.expect_err("off");
    assert_eq!(status.code(), Code::PermissionDenied);
    rig.stop().await;
}
