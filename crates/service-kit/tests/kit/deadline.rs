//! Attack 51, in time: unary calls end, streams may live.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::StreamBody;
use pentad_service_kit::Limits;
use tonic::body::Body;
use tonic::{Code, Request, Status};
use tower::{Service as _, ServiceExt as _};

use crate::echo::{NAP, SAY, call, listen, listen_with, say};
use crate::rig::{PATIENCE, Rig, soon};

const SHORT: Duration = Duration::from_millis(80);

fn asking(timeout: Duration) -> Request<String> {
    let mut request = Request::new(String::new());
    request.set_timeout(timeout);
    request
}

#[tokio::test]
async fn unary_calls_end_at_the_servers_maximum() {
    let rig = Rig::limited(Limits { unary_time_max: SHORT, ..Limits::default() }).await;
    for connection in [rig.tcp(), rig.local()] {
        let started = Instant::now();
        let status = soon(say(&connection, NAP, "")).await.expect_err("ended");
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert!(started.elapsed() >= SHORT);
        // A caller may ask for less time, not for more.
        let status = soon(call(&connection, NAP, asking(PATIENCE))).await.expect_err("ended");
        assert_eq!(status.code(), Code::DeadlineExceeded);
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_request_that_never_ends_is_ended() {
    let rig = Rig::limited(Limits { unary_time_max: SHORT, ..Limits::default() }).await;
    for mut connection in [rig.tcp(), rig.local()] {
        let never = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Status>>());
        let request = http::Request::post(SAY)
            .header("content-type", "application/grpc")
            .body(Body::new(never))
            .expect("a request");
        let ready = soon(connection.ready()).await.expect("ready");
        let response = soon(ready.call(request)).await.expect("answered");
        let status = Status::from_header_map(response.headers()).expect("a status");
        assert_eq!(status.code(), Code::DeadlineExceeded);
    }
    rig.stop().await;
}

#[tokio::test]
async fn the_callers_deadline_is_honoured() {
    let rig = Rig::start().await;
    for connection in [rig.tcp(), rig.local()] {
        let mut request = Request::new(String::new());
        // By hand: tonic's own client would end the call by itself.
        request.metadata_mut().insert("grpc-timeout", "80m".parse().expect("a header value"));
        let status = soon(call(&connection, NAP, request)).await.expect_err("ended");
        assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn streams_outlive_the_unary_maximum() {
    let rig = Rig::limited(Limits { unary_time_max: SHORT, ..Limits::default() }).await;
    for connection in [rig.tcp(), rig.local()] {
        let mut numbers = listen(&connection).await.expect("a stream");
        let started = Instant::now();
        while started.elapsed() < SHORT * 3 {
            soon(numbers.message()).await.expect("still alive").expect("endless");
        }
    }
    rig.stop().await;
}

#[tokio::test]
async fn streams_end_at_the_callers_deadline() {
    let rig = Rig::start().await;
    let mut request = Request::new(String::new());
    request.metadata_mut().insert("grpc-timeout", "80m".parse().expect("a header value"));
    let mut numbers = listen_with(&rig.local(), request).await.expect("a stream");
    let status = soon(async {
        loop {
            if let Err(status) = numbers.message().await {
                return status;
            }
        }
    })
    .await;
    assert_eq!(status.code(), Code::DeadlineExceeded);
    rig.stop().await;
}
