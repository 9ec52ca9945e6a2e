//! What survives the process, and what a lost or old log means.

use std::fs;

use pentad_api::consensus::v1::Role;
use pentad_consensus::ConsensusConfig;

use crate::bed::{Bed, until};

#[tokio::test(flavor = "multi_thread")]
async fn case_27_everybody_restarts_at_once_and_no_final_block_is_lost() {
    let mut bed = Bed::start(4).await;
    bed.pay(0).await;
    let before = bed.agree(1).await;
    for number in 0..4 {
        bed.stop_node(number).await;
    }
    for number in 0..4 {
        bed.start_node(number).await;
    }
    assert_eq!(bed.agree(1).await, before);
    bed.pay(1).await;
    bed.agree(2).await;
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_service_that_was_away_costs_no_vote() {
    let mut bed = Bed::start(4).await;
    bed.pay(0).await;
    bed.agree(1).await;
    // Two of four: nothing becomes final without either of them.
    bed.node_mut(2).disconnect();
    bed.node_mut(3).disconnect();
    let transaction = bed.payment(1);
    bed.node(0).submit(&transaction).await;
    bed.node(1).submit(&transaction).await;
    until("the others wait", async || {
        let explained = bed.node(1).explain().await;
        !explained.silent.is_empty() && !explained.is_healthy
    })
    .await;
    assert_eq!(bed.node(0).info().await.height, 1);
    bed.node_mut(2).reconnect();
    bed.node_mut(3).reconnect();
    bed.agree(2).await;
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn case_57_restored_old_backup_of_the_log_does_not_vote_and_says_why() {
    let mut bed = Bed::start(4).await;
    bed.pay(0).await;
    bed.agree(1).await;
    bed.stop_node(3).await;
    let backup = fs::read(bed.log_file(3)).expect("a log");
    bed.start_node(3).await;
    // So that its vote is needed.
    bed.stop_node(2).await;
    bed.pay(1).await;
    bed.agree(2).await;
    bed.start_node(2).await;
    bed.stop_node(3).await;
    fs::write(bed.log_file(3), backup).expect("restored");
    bed.start_node(3).await;
    let status = bed.node(3).status().await;
    assert_eq!(status.role(), Role::Halted);
    for word in ["behind", "guard", "must not vote", "new key"] {
        assert!(status.halted.contains(word), "{word}: {}", status.halted);
    }
    let explained = bed.node(3).explain().await;
    assert!(!explained.is_healthy);
    assert!(explained.findings[0].contains("does not vote"), "{explained:?}");
    // The others need nobody who forgot what it said.
    bed.stop_node(3).await;
    bed.pay(2).await;
    bed.agree(3).await;
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_guard_needs_the_operators_word_and_a_damaged_one_never_votes() {
    let mut bed = Bed::start(1).await;
    bed.pay(0).await;
    bed.agree(1).await;
    bed.stop_node(0).await;
    fs::remove_file(bed.guard_file(0)).expect("there");
    bed.start_node(0).await;
    let status = bed.node(0).status().await;
    assert_eq!(status.role(), Role::Halted);
    assert!(status.halted.contains("adopt_log"), "{}", status.halted);
    bed.stop_node(0).await;
    let validator_key = Some(bed.guard_file(0).with_extension(""));
    let config = ConsensusConfig { validator_key, adopt_log: true, ..Default::default() };
    bed.start_as(0, config.clone()).await;
    bed.pay(1).await;
    bed.agree(2).await;
    bed.stop_node(0).await;
    fs::write(bed.guard_file(0), "not a guard").expect("writable");
    bed.start_as(0, config).await;
    let status = bed.node(0).status().await;
    assert_eq!(status.role(), Role::Halted);
    assert!(status.halted.contains("damaged"), "{}", status.halted);
    bed.stop().await;
}
