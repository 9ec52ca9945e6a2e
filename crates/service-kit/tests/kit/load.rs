//! Attack 51, in size and number: limits hold, and the others are still served.

use std::time::Duration;

use pentad_api::status;
use pentad_service_kit::Limits;
use pentad_service_kit::limits::MESSAGE_BYTES_MAX;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::echo::{GROW, NAP, PANIC, SAY, call, listen, say};
use crate::rig::{Rig, soon, until};

#[tokio::test]
async fn oversize_requests_are_refused() {
    let rig = Rig::start().await;
    let largest = "x".repeat(MESSAGE_BYTES_MAX - 16);
    for connection in [rig.tcp(), rig.local()] {
        assert_eq!(say(&connection, SAY, &largest).await.expect("fits").len(), largest.len());
        let status = say(&connection, SAY, &"x".repeat(MESSAGE_BYTES_MAX + 1)).await;
        assert_eq!(status.expect_err("too large").code(), Code::OutOfRange);
    }
    rig.stop().await;
}

#[tokio::test]
async fn oversize_responses_are_refused() {
    let rig = Rig::start().await;
    for connection in [rig.tcp(), rig.local()] {
        let size = (MESSAGE_BYTES_MAX + 1).to_string();
        let status = say(&connection, GROW, &size).await.expect_err("too large");
        assert_eq!(status.code(), Code::OutOfRange);
        assert_eq!(say(&connection, SAY, "fine").await.expect("still served"), "fine");
    }
    rig.stop().await;
}

#[tokio::test]
async fn oversize_headers_are_refused() {
    let rig = Rig::start().await;
    let connection = rig.tcp();
    let mut request = tonic::Request::new(String::new());
    let large = "x".repeat(32 * 1024).parse().expect("a header value");
    request.metadata_mut().insert("large", large);
    soon(call(&connection, SAY, request)).await.expect_err("too large");
    assert_eq!(say(&connection, SAY, "fine").await.expect("still served"), "fine");
    rig.stop().await;
}

#[tokio::test]
async fn beyond_its_room_a_call_is_shed_and_others_are_served() {
    let rig = Rig::limited(Limits { unary_calls_max: 1, ..Limits::default() }).await;
    let connection = rig.tcp();
    let napping = tokio::spawn({
        let connection = connection.clone();
        async move { say(&connection, NAP, "rested").await }
    });
    soon(rig.echo.napping(1)).await;

    let status = soon(say(&connection, SAY, "")).await.expect_err("no room");
    assert_eq!(status.code(), Code::ResourceExhausted);
    let explanation = status::explain(&status);
    assert_eq!(explanation.reason, "OVERLOADED");
    assert!(explanation.retry_after.is_some());

    let mut numbers = listen(&connection).await.expect("streams have room");
    soon(numbers.message()).await.expect("served").expect("a number");
    let whole = HealthCheckRequest { service: String::new() };
    HealthClient::new(rig.stranger()).check(whole).await.expect("health has room");

    rig.echo.wake();
    assert_eq!(soon(napping).await.expect("no panic").expect("served"), "rested");
    until("the place is given back", async || say(&connection, SAY, "").await.is_ok()).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_stream_holds_its_place_until_it_ends() {
    let rig = Rig::limited(Limits { streams_max: 1, ..Limits::default() }).await;
    for connection in [rig.tcp(), rig.local()] {
        let stream = listen(&connection).await.expect("a stream");
        let status = listen(&connection).await.expect_err("no room");
        assert_eq!(status.code(), Code::ResourceExhausted);
        drop(stream);
        until("the place is given back", async || listen(&connection).await.is_ok()).await;
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_panic_ends_its_own_call_alone() {
    let rig = Rig::start().await;
    for connection in [rig.tcp(), rig.local()] {
        let naps = *rig.echo.naps.borrow();
        let napping = tokio::spawn({
            let connection = connection.clone();
            async move { say(&connection, NAP, "rested").await }
        });
        soon(rig.echo.napping(naps + 1)).await;
        let status = soon(say(&connection, PANIC, "")).await.expect_err("panics");
        assert_eq!(status.code(), Code::Internal);
        rig.echo.wake();
        assert_eq!(soon(napping).await.expect("no panic").expect("served"), "rested");
    }
    rig.stop().await;
}

/// Whether the server closes the connection without a word.
pub(crate) async fn is_closed(stream: &mut TcpStream) -> bool {
    matches!(soon(stream.read(&mut [0])).await, Ok(0) | Err(_))
}

#[tokio::test]
async fn connections_beyond_the_cap_of_an_address_are_closed() {
    let limits = Limits { connections_per_address_max: 1, ..Limits::default() };
    let rig = Rig::limited(limits).await;
    let first = rig.tcp();
    say(&first, SAY, "").await.expect("served");
    let mut second = TcpStream::connect(rig.address).await.expect("accepted by the kernel");
    assert!(is_closed(&mut second).await);
    say(&first, SAY, "").await.expect("still served");
    let page = rig.metrics.encode().expect("text");
    assert!(page.contains("pentad_grpc_connections_refused_total 1"), "{page}");
    assert!(page.contains("pentad_grpc_connections 1"), "{page}");
    rig.stop().await;
}

#[tokio::test]
async fn a_connection_that_never_speaks_is_closed() {
    let limits = Limits { handshake_time_max: Duration::from_millis(50), ..Limits::default() };
    let rig = Rig::limited(limits).await;
    let mut silent = TcpStream::connect(rig.address).await.expect("accepted");
    let speaking = rig.tcp();
    say(&speaking, SAY, "").await.expect("served");
    until("closed", async || is_closed(&mut silent).await).await;
    say(&speaking, SAY, "").await.expect("a client that spoke stays");
    rig.stop().await;
}
