//! Engine hybrid: validators make blocks of work final, one height after the other.

use pentad_primitives::Block;

use crate::bed::{Bed, hybrid_spec, until};

const DEPTH: u32 = 2;
/// Blocks between checkpoints.
const INTERVAL: u32 = 4;

async fn four() -> Bed {
    let bed = Bed::of(hybrid_spec(4, DEPTH, INTERVAL), 4).await;
    until("all are there", async || (0..4).all(|number| bed.switch.arrivals(number) > 0)).await;
    bed
}

/// Makes blocks on the tip of the first of these nodes, for all of them.
async fn mine(bed: &Bed, count: usize, nodes: &[usize]) -> Vec<Block> {
    let mut blocks = Vec::new();
    for _ in 0..count {
        let block = bed.node(nodes[0]).mine(nodes[0] as u64).await;
        for node in nodes {
            bed.node(*node).give(&block).await;
        }
        blocks.push(block);
    }
    blocks
}

async fn final_at(bed: &Bed, number: usize, height: u32) {
    bed.until(&format!("block {height} is final on node {number}"), async || {
        let knows = bed.node(number).info().await.final_height == Some(height);
        // The chain has it before the replica hears of it.
        knows && bed.node(number).status().await.last_final == u64::from(height)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_become_final_when_they_are_deep_enough() {
    let bed = four().await;
    let all = [0, 1, 2, 3];
    mine(&bed, 2, &all).await;
    for number in all {
        assert_eq!(bed.node(number).info().await.final_height, Some(0));
        let explained = bed.node(number).explain().await;
        assert!(explained.is_healthy, "{explained:?}");
    }
    let mut height = 2;
    for _ in 0..3 {
        mine(&bed, 1, &all).await;
        height += 1;
        for number in all {
            final_at(&bed, number, height - DEPTH).await;
        }
    }
    // Many at once: each in its turn.
    mine(&bed, 20, &all).await;
    for number in all {
        final_at(&bed, number, height + 20 - DEPTH).await;
    }
    until("a stable checkpoint of a quorum", async || {
        let mut stable = 0;
        for number in all {
            stable += usize::from(bed.node(number).status().await.low_watermark >= 20);
        }
        stable >= 3
    })
    .await;
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn case_2_a_silent_primary_is_left() {
    let mut bed = four().await;
    bed.stop_node(0).await;
    let rest = [1, 2, 3];
    let blocks = mine(&bed, 4, &rest).await;
    for number in rest {
        final_at(&bed, number, 4 - DEPTH).await;
    }
    assert!(bed.node(1).status().await.view >= 1);
    // It comes back, gets the blocks, and is told what is final.
    bed.start_node(0).await;
    for block in &blocks {
        bed.node(0).give(block).await;
    }
    final_at(&bed, 0, 4 - DEPTH).await;
    bed.stop().await;
}

/// While as many validators are on one branch as on the other, nothing becomes final; the branch
/// that wins by work does.
#[tokio::test(flavor = "multi_thread")]
async fn branches_of_equal_work_wait_for_work() {
    let bed = four().await;
    mine(&bed, 1, &[0, 1, 2, 3]).await;
    let (left, right) = (mine(&bed, 4, &[0, 1]).await, mine(&bed, 4, &[2, 3]).await);
    for number in 0..4 {
        final_at(&bed, number, 1).await;
    }
    for block in left.iter().chain(&right) {
        for number in 0..4 {
            bed.node(number).give(block).await;
        }
    }
    until("the primary's block is refused or left", async || bed.node(3).status().await.view >= 1)
        .await;
    for number in 0..4 {
        assert_eq!(bed.node(number).info().await.final_height, Some(1));
    }
    let last = mine(&bed, 1, &[2, 3, 0, 1]).await;
    for number in 0..4 {
        final_at(&bed, number, 6 - DEPTH).await;
        assert_eq!(bed.node(number).info().await.tip, last[0].block_hash().to_string());
    }
    bed.stop().await;
}

/// Attack 49: a validator alone with a branch of more work comes back to what the others made
/// final.
#[tokio::test(flavor = "multi_thread")]
async fn a_validator_on_another_branch_follows_the_quorum() {
    let bed = four().await;
    let lost = mine(&bed, 9, &[3]).await;
    let kept = mine(&bed, 5, &[0, 1, 2]).await;
    for number in 0..3 {
        final_at(&bed, number, 5 - DEPTH).await;
    }
    assert_eq!(bed.node(3).info().await.tip, lost[8].block_hash().to_string());
    for block in &kept {
        bed.node(3).give(block).await;
    }
    final_at(&bed, 3, 5 - DEPTH).await;
    assert_eq!(bed.node(3).info().await.tip, kept[4].block_hash().to_string());
    mine(&bed, 1, &[3, 0, 1, 2]).await;
    for number in 0..4 {
        final_at(&bed, number, 6 - DEPTH).await;
    }
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_all_goes_on_where_it_was() {
    let mut bed = four().await;
    let all = [0, 1, 2, 3];
    mine(&bed, 9, &all).await;
    for number in all {
        final_at(&bed, number, 9 - DEPTH).await;
    }
    for number in all {
        bed.stop_node(number).await;
    }
    for number in all {
        bed.start_node(number).await;
    }
    for number in all {
        assert_eq!(bed.node(number).info().await.final_height, Some(9 - DEPTH));
    }
    mine(&bed, 1, &all).await;
    for number in all {
        final_at(&bed, number, 10 - DEPTH).await;
    }
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_validator_alone_makes_blocks_final() {
    let bed = Bed::of(hybrid_spec(1, DEPTH, INTERVAL), 1).await;
    mine(&bed, 7, &[0]).await;
    final_at(&bed, 0, 7 - DEPTH).await;
    bed.stop().await;
}
