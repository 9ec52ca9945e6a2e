//! The end of a server.

use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tonic::{Code, Status, Streaming};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::echo::{NAP, listen, say};
use crate::rig::{Plan, Rig, soon};

async fn end_of<T>(mut stream: Streaming<T>) -> Status {
    soon(async {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("ended without a reason"),
                Err(status) => return status,
            }
        }
    })
    .await
}

#[tokio::test]
async fn drain_finishes_unary_calls_and_ends_streams() {
    let rig = Rig::start().await;
    let connection = rig.tcp();
    let mut numbers = listen(&connection).await.expect("a stream");
    soon(numbers.message()).await.expect("served").expect("a number");
    let napping = tokio::spawn(async move { say(&connection, NAP, "rested").await });
    soon(rig.echo.napping(1)).await;

    rig.shutdown.cancel();
    let status = end_of(numbers).await;
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(pentad_api::status::explain(&status).reason, "SHUTTING_DOWN");
    assert!(!rig.serving.is_finished(), "a call is in flight");
    assert!(TcpStream::connect(rig.address).await.is_err(), "no new connections");
    rig.echo.wake();
    assert_eq!(soon(napping).await.expect("no panic").expect("finished"), "rested");
    soon(rig.serving).await.expect("no panic");
}

#[tokio::test]
async fn drain_is_bounded_in_time() {
    let drain_time = Duration::from_millis(100);
    let rig = Rig::with(Plan { drain_time, ..Plan::default() }).await;
    let connection = rig.tcp();
    let napping = tokio::spawn(async move { say(&connection, NAP, "").await });
    soon(rig.echo.napping(1)).await;
    let started = Instant::now();
    rig.shutdown.cancel();
    soon(rig.serving).await.expect("no panic");
    assert!(started.elapsed() >= drain_time);
    let status = soon(napping).await.expect("no panic").expect_err("cut off");
    assert_eq!(status.code(), Code::Unavailable);
}

#[tokio::test]
async fn watchers_of_health_hear_of_the_drain() {
    let rig = Rig::start().await;
    let request = HealthCheckRequest { service: "test.Echo".to_owned() };
    let mut health =
        HealthClient::new(rig.stranger()).watch(request).await.expect("open").into_inner();
    let serving = ServingStatus::Serving as i32;
    let mut seen = Vec::new();
    while seen.last() != Some(&serving) {
        seen.push(soon(health.message()).await.expect("served").expect("a status").status);
    }
    rig.shutdown.cancel();
    let last = soon(health.message()).await.expect("served").expect("a status").status;
    assert_eq!(last, ServingStatus::NotServing as i32);
    assert_eq!(end_of(health).await.code(), Code::Unavailable);
    soon(rig.serving).await.expect("no panic");
}
