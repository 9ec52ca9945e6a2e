//! Services find each other by address.

use std::fs;

use pentad_service_kit::Upstream;
use tonic::Code;

use crate::echo::{SAY, say};
use crate::rig::Rig;

#[tokio::test]
async fn the_cookie_is_read_when_it_is_there() {
    let rig = Rig::start().await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let late = dir.path().join("cookie");
    let upstream = Upstream {
        address: Some(format!("http://{}", rig.address)),
        cookie_file: Some(late.clone()),
    };
    let connection = upstream.connect(1, None).expect("an address");
    let status = say(&connection, SAY, "").await.expect_err("no cookie yet");
    assert_eq!(status.code(), Code::Unauthenticated);
    fs::copy(&rig.cookie_file, &late).expect("copied, with its mode");
    assert_eq!(say(&connection, SAY, "hello").await.expect("served"), "hello");
    rig.stop().await;
}

#[tokio::test]
async fn an_unreachable_or_malformed_address_is_told() {
    let nowhere = Upstream { address: Some("http://127.0.0.1:1".to_owned()), cookie_file: None };
    let connection = nowhere.connect(1, None).expect("an address");
    let request = tonic_health::pb::HealthCheckRequest { service: String::new() };
    let status = tonic_health::pb::health_client::HealthClient::new(connection)
        .check(request)
        .await
        .expect_err("nobody is there");
    assert_eq!(status.code(), Code::Unavailable);
    let malformed = Upstream { address: Some("not an address".to_owned()), cookie_file: None };
    assert!(malformed.connect(1, None).is_err());
}
