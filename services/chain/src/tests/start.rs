use std::fs;
use std::time::Duration;

use pentad_api::Connection;
use pentad_api::chain::v1 as proto;
use pentad_api::chain::v1::chain_service_client::ChainServiceClient;
use pentad_ledger::ChainSpec;
use pentad_store::DataDirError;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::fixture::{
    ALLOCATIONS, COIN, Node, START, alice, bob, directory, genesis_output, options,
};
use crate::{Ended, OpenError, read_spec};

#[tokio::test(flavor = "multi_thread")]
async fn restart_finds_everything_again() {
    let directory = directory();
    let node = Node::open(directory.path());
    let payment = alice().spend(&[genesis_output(0)], &[(&bob(), 10 * COIN)]);
    node.submit_transaction(&payment).await.expect("a valid payment");
    node.mine(30, &alice()).await;
    let before = (node.tip().await, node.utxo_set().await, node.balance(&bob()).await);
    node.stop().await;
    let node = Node::open(directory.path());
    assert_eq!((node.tip().await, node.utxo_set().await, node.balance(&bob()).await), before);
    node.mine(1, &alice()).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mempool_survives_a_restart_and_soon_a_kill() {
    let (directory, killed) = (directory(), directory());
    let node = Node::open(directory.path());
    let parent = alice().spend(&[genesis_output(0)], &[(&bob(), 10 * COIN)]);
    let spent = pentad_primitives::OutPoint { txid: parent.txid(), vout: 0 };
    let child = bob().spend(&[spent], &[(&alice(), 5 * COIN)]);
    node.submit_transaction(&parent).await.expect("a valid payment");
    node.submit_transaction(&child).await.expect("a valid payment");
    let expected = [parent.txid().to_string(), child.txid().to_string()];
    // Saved by itself within seconds; a copy is what a kill would leave.
    let saved = async {
        while !directory.path().join("mempool").exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), saved).await.expect("saved in time");
    super::crash::copy(directory.path(), killed.path());
    node.stop().await;
    for path in [directory.path(), killed.path()] {
        let node = Node::open(path);
        // The writer admits them as its first work: whatever it is asked comes after that.
        node.template(&bob()).await;
        assert_eq!(node.mempool().await, expected);
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn second_node_on_one_directory_is_refused() {
    let directory = directory();
    let node = Node::open(directory.path());
    let Err(error) = Node::try_open(options(directory.path())) else { panic!("it opened") };
    assert!(matches!(&error, OpenError::DataDir(DataDirError::Locked { pid: Some(_), .. })));
    let message = error.to_string();
    assert!(message.contains(&directory.path().display().to_string()), "{message}");
    assert!(message.contains(&std::process::id().to_string()), "{message}");
    node.stop().await;
    Node::open(directory.path()).stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn directory_of_another_spec_is_refused() {
    let directory = directory();
    Node::open(directory.path()).stop().await;
    let mut other = options(directory.path());
    other.spec = ChainSpec::development("other", START, Vec::new()).expect("a valid spec");
    let Err(error) = Node::try_open(other) else { panic!("it opened") };
    assert!(matches!(error, OpenError::DataDir(DataDirError::OtherSpec { .. })));
}

#[test]
fn corrupted_chain_toml_names_the_file_and_the_place() {
    let directory = directory();
    let path = directory.path().join("chain.toml");
    let error = read_spec(&path).expect_err("no file");
    assert!(matches!(&error, OpenError::SpecFile { .. }));
    assert!(error.to_string().contains("chain.toml"), "{error}");
    let text = super::fixture::spec().to_toml();
    fs::write(&path, &text).expect("a writable file");
    assert_eq!(read_spec(&path).expect("a valid spec"), super::fixture::spec());
    fs::write(&path, text.replace("name = ", "nam = ")).expect("a writable file");
    let error = read_spec(&path).expect_err("an unknown field");
    assert!(error.to_string().contains("chain.toml"), "{error}");
    assert!(error.to_string().contains("nam"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn serves_over_tcp_with_rights_and_truthful_health() {
    let directory = directory();
    let node = Node::open(directory.path());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(node.server.clone().serve(listener, shutdown.clone()));
    let connection = Connection::lazy(&address).expect("an address");

    let stranger = ChainServiceClient::new(connection.clone());
    let status = stranger.clone().get_info(proto::GetInfoRequest {}).await;
    assert_eq!(status.expect_err("no credential").code(), Code::Unauthenticated);
    let with_cookie =
        connection.clone().with_credential(node.gate.cookie().reveal()).expect("a plain cookie");
    let mut client = ChainServiceClient::new(with_cookie);
    let request = proto::GetBalanceRequest { address: alice().text() };
    let balance = client.get_balance(request).await.expect("a balance").into_inner();
    assert_eq!(balance.confirmed, ALLOCATIONS as u64 * 100 * COIN);

    let health = HealthClient::new(connection);
    let serving_status = || {
        let mut health = health.clone();
        async move {
            let service = "pentad.chain.v1.ChainService".to_owned();
            health
                .check(HealthCheckRequest { service })
                .await
                .expect("health")
                .into_inner()
                .status()
        }
    };
    let until = async |wanted: bool| {
        use tonic_health::pb::health_check_response::ServingStatus::Serving;
        let waiting = async {
            while (serving_status().await == Serving) != wanted {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("health follows");
    };
    until(true).await;
    // The writer ends, and health says so.
    node.chain.stop().await.expect("a working disk");
    assert_eq!(node.chain.ended().await, Ended::Stopped);
    until(false).await;
    shutdown.cancel();
    serving.await.expect("no panic").expect("a clean end");
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_chain_says_so() {
    let directory = directory();
    let node = Node::open(directory.path());
    node.chain.stop().await.expect("a working disk");
    let payment = alice().spend(&[genesis_output(0)], &[(&bob(), 10 * COIN)]);
    let status = node.submit_transaction(&payment).await.expect_err("nobody writes");
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(super::fixture::reason(&status), "STOPPING");
}
