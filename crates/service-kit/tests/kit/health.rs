//! Health is never a constant.

use std::sync::Arc;

use pentad_service_kit::health;
use tokio::sync::watch;
use tonic::Streaming;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::rig::{Plan, Rig, soon, until};

fn of(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

async fn wait_for(stream: &mut Streaming<HealthCheckResponse>, wanted: ServingStatus) {
    soon(async {
        while stream.message().await.expect("served").expect("endless").status() != wanted {}
    })
    .await;
}

#[tokio::test]
async fn a_service_serves_while_its_dependency_is_there() {
    let store = Arc::new(watch::Sender::new(false));
    let probed = Arc::clone(&store);
    let probe = health::probe("store", move || {
        let up = *probed.borrow();
        async move { if up { Ok(()) } else { Err("disk is away".to_owned()) } }
    });
    let rig = Rig::with(Plan { probes: vec![probe], ..Plan::default() }).await;
    let mut client = HealthClient::new(rig.stranger());
    for service in ["test.Echo", ""] {
        let mut statuses = client.watch(of(service)).await.expect("open").into_inner();
        wait_for(&mut statuses, ServingStatus::NotServing).await;
        store.send_replace(true);
        wait_for(&mut statuses, ServingStatus::Serving).await;
        store.send_replace(false);
        wait_for(&mut statuses, ServingStatus::NotServing).await;
    }
    let page = rig.metrics.encode().expect("text");
    assert!(page.contains(r#"pentad_dependency_up{dependency="store"} 0"#), "{page}");
    let unknown = client.check(of("no.Such")).await.expect_err("unknown");
    assert_eq!(unknown.code(), tonic::Code::NotFound);
    rig.stop().await;
}

#[tokio::test]
async fn a_remote_probe_follows_the_other_service() {
    let upstream = Rig::start().await;
    let probe = health::remote("upstream", upstream.stranger(), "test.Echo");
    let rig = Rig::with(Plan { probes: vec![probe], ..Plan::default() }).await;
    let client = HealthClient::new(rig.stranger());
    let status =
        async || client.clone().check(of("test.Echo")).await.expect("open").into_inner().status();
    until("up", async || status().await == ServingStatus::Serving).await;
    upstream.stop().await;
    until("down", async || status().await == ServingStatus::NotServing).await;
    rig.stop().await;
}
