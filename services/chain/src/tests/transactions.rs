use pentad_primitives::{Encode as _, OutPoint};
use tonic::Code;

use super::fixture::{COIN, FEE, Node, Person, alice, bob, directory, genesis_output, reason};

#[tokio::test(flavor = "multi_thread")]
async fn refused_transactions_name_the_rule() {
    let directory = directory();
    let node = Node::in_memory(directory.path());
    let good = alice().spend(&[genesis_output(0)], &[(&bob(), 10 * COIN)]);
    let mut tampered = good.clone();
    tampered.outputs[0].amount = pentad_primitives::Amount::from_units(11 * COIN).expect("small");
    let unknown = OutPoint { txid: good.txid(), vout: 7 };
    let cases = [
        (tampered, Code::InvalidArgument, "BAD_SIGNATURE"),
        (bob().spend(&[genesis_output(0)], &[(&bob(), COIN)]), Code::InvalidArgument, "WRONG_KEY"),
        (
            alice().spend(&[genesis_output(0), genesis_output(0)], &[(&bob(), COIN)]),
            Code::InvalidArgument,
            "DUPLICATE_INPUT",
        ),
        (
            alice().spend(&[genesis_output(0)], &[(&bob(), 101 * COIN)]),
            Code::InvalidArgument,
            "OUTPUTS_EXCEED_INPUTS",
        ),
        (alice().spend(&[unknown], &[(&bob(), COIN)]), Code::FailedPrecondition, "MISSING_INPUT"),
        (
            alice().spend(&[genesis_output(0)], &[(&bob(), 100 * COIN)]),
            Code::FailedPrecondition,
            "FEE_TOO_LOW",
        ),
    ];
    for (transaction, code, rule) in cases {
        let status = node.submit_transaction(&transaction).await.expect_err(rule);
        assert_eq!((status.code(), reason(&status).as_str()), (code, rule));
    }
    assert_eq!(node.mempool().await, Vec::<String>::new());
    node.submit_transaction(&good).await.expect("the good one is valid");
    let request = pentad_api::chain::v1::SubmitTransactionRequest {
        transaction: "x".into(),
        ..Default::default()
    };
    let status = node.submit.clone().submit_transaction(request).await.expect_err("no bytes");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "MALFORMED"));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn double_spend_is_refused_in_the_mempool_and_after_the_block() {
    let directory = directory();
    let node = Node::in_memory(directory.path());
    let first = alice().spend(&[genesis_output(0)], &[(&bob(), 10 * COIN)]);
    let second = alice().spend(&[genesis_output(0)], &[(&alice(), 10 * COIN)]);
    node.submit_transaction(&first).await.expect("a valid payment");
    let status = node.submit_transaction(&second).await.expect_err("spent in the mempool");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "CONFLICT"));
    node.mine(1, &bob()).await;
    let status = node.submit_transaction(&second).await.expect_err("spent in the chain");
    assert_eq!(reason(&status), "MISSING_INPUT");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unconfirmed_change_can_be_spent_and_is_mined_in_order() {
    let directory = directory();
    let node = Node::in_memory(directory.path());
    let mut coins = genesis_output(0);
    let mut units = 100 * COIN;
    let mut txids = Vec::new();
    for _ in 0..10 {
        units -= COIN + FEE;
        let payment = alice().spend(&[coins], &[(&bob(), COIN), (&alice(), units)]);
        node.submit_transaction(&payment).await.expect("change can be spent at once");
        txids.push(payment.txid().to_string());
        coins = OutPoint { txid: payment.txid(), vout: 1 };
    }
    assert_eq!(node.mempool().await, txids);
    let blocks = node.mine(1, &Person::new(9)).await;
    assert_eq!(blocks[0].transactions.len(), 11);
    assert_eq!(node.balance(&bob()).await, (10 * COIN, 0, 0));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orphan_is_adopted_when_its_parent_comes() {
    let directory = directory();
    let node = Node::in_memory(directory.path());
    let parent = alice().spend(&[genesis_output(0)], &[(&bob(), 10 * COIN)]);
    let child = bob().spend(&[OutPoint { txid: parent.txid(), vout: 0 }], &[(&alice(), COIN)]);
    let status = node.submit_transaction(&child).await.expect_err("its parent is unknown");
    assert_eq!(reason(&status), "MISSING_INPUT");
    node.submit_transaction(&parent).await.expect("a valid payment");
    let expected = [parent.txid().to_string(), child.txid().to_string()];
    assert_eq!(node.mempool().await, expected);

    // The same by way of a block that the mempool knew nothing of.
    let parent = alice().spend(&[genesis_output(1)], &[(&bob(), 10 * COIN)]);
    let child = bob().spend(&[OutPoint { txid: parent.txid(), vout: 0 }], &[(&alice(), COIN)]);
    node.submit_transaction(&child).await.expect_err("its parent is unknown");
    let mut block = node.template(&bob()).await;
    block.transactions.push(parent);
    node.submit_block(&super::fixture::reseal(block)).await.expect("a valid block");
    assert_eq!(node.mempool().await, [child.txid().to_string()]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_expire_by_the_injected_clock() {
    let directory = directory();
    let node = Node::in_memory(directory.path());
    let old = alice().spend(&[genesis_output(0)], &[(&bob(), 10 * COIN)]);
    node.submit_transaction(&old).await.expect("a valid payment");
    node.clock.advance(15 * 24 * 60 * 60);
    // The writer looks after its mempool once a second, asked or not.
    let gone = async {
        while !node.mempool().await.is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let patience = std::time::Duration::from_secs(20);
    tokio::time::timeout(patience, gone).await.expect("dropped in time");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_payments_at_once_all_enter() {
    let directory = directory();
    let node = Node::open(directory.path());
    let outputs: Vec<_> = (0..200).map(|_| (alice(), COIN / 4)).collect();
    let outputs: Vec<_> = outputs.iter().map(|(to, units)| (to, *units)).collect();
    let fan_out = alice().spend(&[genesis_output(0)], &outputs);
    node.submit_transaction(&fan_out).await.expect("a valid payment");
    node.mine(1, &bob()).await;
    let payments: Vec<_> = (0..200)
        .map(|vout| {
            let outpoint = OutPoint { txid: fan_out.txid(), vout };
            alice().spend(&[outpoint], &[(&bob(), COIN / 5)])
        })
        .collect();
    let requests: Vec<_> = payments
        .chunks(64)
        .map(|payments| pentad_api::chain::v1::AdmitTransactionsRequest {
            transactions: payments.iter().map(|payment| payment.to_bytes().into()).collect(),
            traced: Vec::new(),
        })
        .collect();
    let answers = node
        .assembly
        .clone()
        .admit_transactions(tokio_stream::iter(requests))
        .await
        .expect("a stream");
    let mut answers = answers.into_inner();
    for payments in payments.chunks(64) {
        let answer = answers.message().await.expect("no error").expect("one for each");
        assert_eq!(answer.outcomes.len(), payments.len());
        for (outcome, payment) in answer.outcomes.iter().zip(payments) {
            assert_eq!(outcome.txid, &payment.txid().as_bytes()[..]);
            assert!(outcome.admitted, "{:?}", outcome.refusal);
        }
    }
    assert_eq!(answers.message().await.expect("no error"), None);
    let blocks = node.mine(1, &bob()).await;
    assert_eq!(blocks[0].transactions.len(), 201);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_tell_what_comes_waits_and_goes() {
    let directory = directory();
    let node = Node::in_memory(directory.path());
    let good = alice().spend(&[genesis_output(0)], &[(&bob(), 10 * COIN)]);
    let poor = alice().spend(&[genesis_output(0)], &[(&bob(), 101 * COIN)]);
    node.submit_transaction(&good).await.expect("valid");
    node.submit_transaction(&poor).await.expect_err("spent, and too much");
    let request = pentad_api::chain::v1::SubmitTransactionRequest {
        transaction: "x".into(),
        ..Default::default()
    };
    node.submit.clone().submit_transaction(request).await.expect_err("no transaction");
    node.mine(1, &bob()).await;
    let page = || node.metrics.encode().expect("text");
    for line in [
        "pentad_chain_transactions_refused_total{reason=\"OUTPUTS_EXCEED_INPUTS\"} 1",
        "pentad_chain_transactions_refused_total{reason=\"MALFORMED\"} 1",
        "pentad_chain_mempool_removed_total{reason=\"confirmed\"} 1",
        "pentad_chain_mempool_removed_total{reason=\"evicted\"} 0",
        "pentad_chain_queue_full_total 0",
        "pentad_chain_held_back_total 0",
    ] {
        assert!(page().contains(line), "no {line} in {}", page());
    }
    // The writer answers a moment before it looks at the next job.
    let idle = async {
        while !(page().contains("pentad_chain_queue_jobs{kind=\"blocks\"} 0")
            && page().contains("pentad_chain_queue_jobs{kind=\"transactions\"} 0"))
        {
            tokio::task::yield_now().await;
        }
    };
    let patience = std::time::Duration::from_secs(20);
    tokio::time::timeout(patience, idle).await.expect("nothing waits");
    node.stop().await;
}
