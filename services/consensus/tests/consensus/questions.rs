//! What the service answers.

use pentad_api::consensus::v1::{ListEvidenceRequest, ListValidatorsRequest, Phase, Role};
use pentad_api::status::explain;
use pentad_consensus::ConsensusConfig;
use pentad_crypto::{Address, KeyHash};
use pentad_ledger::ChainSpec;
use pentad_ledger::spec::Allocation;
use pentad_primitives::Amount;
use tonic::Code;

use crate::bed::{Bed, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_stall_is_explained_by_who_is_missing() {
    let mut bed = Bed::start(4).await;
    let explained = bed.node(0).explain().await;
    assert!(explained.is_healthy, "{explained:?}");
    assert!(explained.findings[0].contains("nothing to agree on"), "{explained:?}");
    bed.stop_node(2).await;
    bed.stop_node(3).await;
    bed.pay(0).await;
    until("the stall has a reason", async || {
        let explained = bed.node(0).explain().await;
        let text = explained.findings.join("\n");
        !explained.is_healthy
            && explained.votes_missing >= 1
            && ["node3", "node4"].iter().all(|name| explained.silent.iter().any(|it| it == name))
            && text.contains("no block can become final")
    })
    .await;
    let status = bed.node(1).explain().await.status.expect("a status");
    assert_eq!((status.quorum, status.faults_max, status.validators), (3, 1, 4));
    bed.start_node(3).await;
    bed.node(3).submit(&bed.payment(0)).await;
    bed.agree(1).await;
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sequence_in_flight_shows_its_phase_and_voters() {
    let mut bed = Bed::start(4).await;
    bed.stop_node(2).await;
    bed.stop_node(3).await;
    bed.pay(0).await;
    until("the proposal is there", async || {
        let status = bed.node(1).status().await;
        let Some(first) = status.sequences.first() else { return false };
        first.phase() == Phase::PrePrepared && first.prepared == ["node1", "node2"]
    })
    .await;
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn validators_are_listed_and_without_faults_there_is_no_evidence() {
    let bed = Bed::start(4).await;
    bed.pay(0).await;
    bed.agree(1).await;
    let request = ListValidatorsRequest::default();
    let listed = bed.node(1).consensus().list_validators(request).await.expect("all").into_inner();
    let names: Vec<&str> = listed.validators.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["node1", "node2", "node3", "node4"]);
    assert!(listed.validators[0].since_heard_ms.is_some(), "{listed:?}");
    assert_eq!(listed.set_hash.len(), 64);
    assert_eq!(listed.validators[2].key.len(), 66);
    let evidence = bed.node(1).consensus().list_evidence(ListEvidenceRequest {}).await;
    assert_eq!(evidence.expect("an answer").into_inner().evidence, []);
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_a_key_follows() {
    let mut bed = Bed::start(4).await;
    bed.pay(0).await;
    bed.agree(1).await;
    bed.stop_node(3).await;
    bed.start_as(3, ConsensusConfig::default()).await;
    let status = bed.node(3).status().await;
    assert_eq!((status.role(), status.last_final), (Role::Follower, 1));
    assert_eq!((status.primary.as_str(), status.quorum), ("node1", 3));
    assert!(bed.node(3).explain().await.is_healthy);
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn under_proof_of_work_nothing_is_agreed_on() {
    let address = Address::P2pkh(KeyHash::from_bytes([7; 20]));
    let allocations = vec![Allocation { address, amount: Amount::COIN }];
    let spec = ChainSpec::development("work", 1_700_000_000, allocations).expect("valid");
    let mut bed = Bed::of(spec, 1).await;
    bed.stop_node(0).await;
    // The settings of deploy/kubernetes name a key, whatever the engine: it is not even read.
    let validator_key = Some("no such file".into());
    bed.start_as(0, ConsensusConfig { validator_key, ..Default::default() }).await;
    let status = bed.node(0).status().await;
    assert_eq!((status.role(), status.validators), (Role::Follower, 0));
    assert!(bed.node(0).explain().await.is_healthy);
    let request = ListValidatorsRequest::default();
    let refused = bed.node(0).consensus().list_validators(request).await.expect_err("no set");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(explain(&refused).reason, "NO_FINALITY");
    bed.stop().await;
}
