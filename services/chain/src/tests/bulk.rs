//! Submitting many, dry runs, explanations, following addresses.

use std::time::Duration;

use pentad_api::chain::v1 as proto;
use pentad_api::chain::v1::explain_transaction_request::Transaction as Wanted;
use pentad_api::chain::v1::follow_addresses_response::Event;
use pentad_primitives::{Encode as _, OutPoint, Transaction};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};

use super::fixture::{COIN, FEE, Node, Person, alice, bob, directory, genesis_output, reason};

const PATIENCE: Duration = Duration::from_secs(20);

fn batch(transactions: &[Transaction]) -> proto::SubmitTransactionsRequest {
    let transactions = transactions.iter().map(|tx| tx.to_bytes().into()).collect();
    proto::SubmitTransactionsRequest { transactions, traced: Vec::new() }
}

/// `count` payments of Alice, each spending the change of the one before.
fn chain_of_payments(vout: u32, count: u64) -> Vec<Transaction> {
    let mut outpoint = genesis_output(vout);
    let payments = (1..=count).map(|n| {
        let rest = 100 * COIN - n * (COIN + FEE);
        let payment = alice().spend(&[outpoint], &[(&alice(), rest), (&bob(), COIN)]);
        outpoint = OutPoint { txid: payment.txid(), vout: 0 };
        payment
    });
    payments.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_answered_in_order() {
    let directory = directory();
    let node = Node::in_memory(directory.path());
    // Within a batch, parents come first and double spends second.
    let payments = chain_of_payments(0, 10);
    let rival = alice().spend(&[genesis_output(0)], &[(&bob(), COIN)]);
    let mut tampered = alice().spend(&[genesis_output(1)], &[(&bob(), COIN)]);
    tampered.outputs[0].amount = pentad_primitives::Amount::from_units(2).expect("small");
    let mut forged = alice().spend(&[genesis_output(2)], &[(&bob(), COIN)]);
    forged.outputs[0].amount = pentad_primitives::Amount::from_units(2 * COIN).expect("small");
    let mut first = batch(&payments[..5]);
    first.transactions.push(rival.to_bytes().into());
    first.transactions.push("x".into());
    first.transactions.push(tampered.to_bytes().into());
    first.transactions.push(forged.to_bytes().into());
    first.transactions.push(payments[0].to_bytes().into());
    let requests = vec![first, batch(&payments[5..]), batch(&[])];
    let answers = node.submit.clone().submit_transactions(tokio_stream::iter(requests)).await;
    let mut answers = answers.expect("a stream").into_inner();
    let mut next = async || {
        let answer = timeout(PATIENCE, answers.message()).await.expect("in time");
        let answer = answer.expect("no error")?;
        let short = |outcome: proto::SubmitOutcome| {
            let is_new = !outcome.already_known;
            (outcome.txid, outcome.reason, is_new)
        };
        Some(answer.outcomes.into_iter().map(short).collect::<Vec<_>>())
    };
    let admitted = |tx: &Transaction| (tx.txid().to_string(), String::new(), true);
    let refused = |tx: &Transaction, rule: &str| (tx.txid().to_string(), rule.to_owned(), true);
    let mut expected: Vec<_> = payments[..5].iter().map(admitted).collect();
    expected.push(refused(&rival, "CONFLICT"));
    expected.push((String::new(), "MALFORMED".to_owned(), true));
    expected.push(refused(&tampered, "DUST"));
    expected.push(refused(&forged, "BAD_SIGNATURE"));
    expected.push((payments[0].txid().to_string(), String::new(), false));
    assert_eq!(next().await, Some(expected));
    assert_eq!(next().await, Some(payments[5..].iter().map(admitted).collect()));
    assert_eq!(next().await, Some(Vec::new()));
    assert_eq!(next().await, None);
    assert_eq!(node.mempool().await.len(), 10);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batch_that_is_too_long_ends_the_stream() {
    let directory = directory();
    let node = Node::in_memory(directory.path());
    let transactions = vec!["x".into(); 1_001];
    let request = proto::SubmitTransactionsRequest { transactions, traced: Vec::new() };
    let answers = node.submit.clone().submit_transactions(tokio_stream::iter([request])).await;
    let refused = answers.expect("opens").into_inner().message().await.expect_err("too many");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "TOO_MANY"));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn client_that_reads_no_answers_is_not_read_from() {
    let directory = directory();
    let node = Node::in_memory(directory.path());
    let (sender, requests) = mpsc::channel(1);
    let requests = ReceiverStream::new(requests);
    let answers = node.submit.clone().submit_transactions(requests).await.expect("opens");
    // 60 kB of refusals each way.
    let transactions = vec!["x".into(); 1_000];
    let garbage = proto::SubmitTransactionsRequest { transactions, traced: Vec::new() };
    let mut sent = 0;
    while timeout(Duration::from_secs(1), sender.send(garbage.clone())).await.is_ok() {
        sent += 1;
        assert!(sent < 1_000, "the stream takes without end");
    }
    drop(sender);
    let mut answers = answers.into_inner();
    let mut answered = 0;
    while let Some(answer) = answers.message().await.expect("no error") {
        assert_eq!(answer.outcomes.len(), 1_000);
        answered += 1;
    }
    assert_eq!(answered, sent);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dry_run_changes_nothing() {
    let directory = directory();
    let node = Node::in_memory(directory.path());
    let test = async |transaction: &Transaction| {
        let request = proto::TestTransactionRequest { transaction: transaction.to_bytes().into() };
        node.submit.clone().test_transaction(request).await.expect("an answer").into_inner()
    };
    let mut first = alice().spend(&[genesis_output(0)], &[(&bob(), 100 * COIN - FEE)]);
    first = replaceable(first);
    let tested = test(&first).await;
    let bytes = first.encoded_len() as u64;
    assert!(tested.accepted && !tested.already_known, "{tested:?}");
    assert_eq!((tested.txid, tested.bytes), (first.txid().to_string(), bytes));
    assert_eq!((tested.fee, tested.fee_rate), (Some(FEE), Some(FEE * 1_000 / bytes)));
    assert_eq!(tested.replaces, Vec::<String>::new());
    assert_eq!(node.mempool().await, Vec::<String>::new());

    node.submit_transaction(&first).await.expect("as the dry run said");
    let tested = test(&first).await;
    assert!(tested.already_known && !tested.accepted && tested.reason.is_empty());
    let second = alice().spend(&[genesis_output(0)], &[(&bob(), 100 * COIN - 5 * FEE)]);
    let tested = test(&second).await;
    assert!(tested.accepted);
    assert_eq!(tested.replaces, [first.txid().to_string()]);
    assert_eq!(node.mempool().await, [first.txid().to_string()]);
    let cheap = alice().spend(&[genesis_output(1)], &[(&bob(), 100 * COIN)]);
    let tested = test(&cheap).await;
    assert_eq!((tested.accepted, tested.reason.as_str()), (false, "FEE_TOO_LOW"));
    assert_eq!(tested.fee, None);
    let stolen = bob().spend(&[genesis_output(1)], &[(&bob(), COIN)]);
    assert_eq!(test(&stolen).await.reason, "WRONG_KEY");
    node.mine(1, &bob()).await;
    assert!(test(&first).await.already_known);
    let request = proto::TestTransactionRequest { transaction: "x".into() };
    let refused = node.submit.clone().test_transaction(request).await.expect_err("no bytes");
    assert_eq!(reason(&refused), "MALFORMED");
    node.stop().await;
}

/// Alice's payment with the signal of BIP125.
fn replaceable(mut transaction: Transaction) -> Transaction {
    use pentad_crypto::script::p2pkh_script_sig;
    use pentad_primitives::sighash::sighash_all;
    transaction.inputs[0].sequence = 0xffff_fffd;
    let hash = sighash_all(&transaction, 0, &alice().script()).expect("in range");
    let key = alice().0;
    transaction.inputs[0].script_sig = p2pkh_script_sig(&key.sign(&hash), &key.public_key());
    transaction
}

#[tokio::test(flavor = "multi_thread")]
async fn explanation_names_rule_and_rival() {
    use proto::{OutputClaim as Claim, TransactionState as State};
    let directory = directory();
    let node = Node::open(directory.path());
    let explain = async |transaction: Wanted| {
        let request = proto::ExplainTransactionRequest { transaction: Some(transaction) };
        node.reads.clone().explain_transaction(request).await.expect("an answer").into_inner()
    };
    let raw = |transaction: &Transaction| Wanted::Raw(transaction.to_bytes().into());
    let id = |transaction: &Transaction| Wanted::Txid(transaction.txid().to_string());
    let first = alice().spend(&[genesis_output(0)], &[(&bob(), 100 * COIN - FEE)]);
    let rival = alice().spend(&[genesis_output(0)], &[(&alice(), 50 * COIN)]);
    assert_eq!(explain(id(&first)).await.state(), State::Unknown);
    let free = explain(raw(&first)).await;
    assert_eq!((free.state(), free.reason.as_str()), (State::Unknown, ""));
    assert_eq!(free.contested, []);

    node.submit_transaction(&first).await.expect("valid");
    assert_eq!(explain(id(&first)).await.state(), State::Mempool);
    let found = explain(raw(&rival)).await;
    assert_eq!((found.state(), found.reason.as_str()), (State::Unknown, "CONFLICT"));
    let [contested] = &found.contested[..] else { panic!("one output: {found:?}") };
    assert_eq!(
        (contested.claim(), &contested.spender),
        (Claim::Mempool, &first.txid().to_string())
    );

    let block = node.mine(1, &Person::new(9)).await.remove(0);
    let found = explain(id(&first)).await;
    assert_eq!((found.state(), found.height, found.confirmations), (State::Confirmed, 1, 1));
    assert_eq!(found.block_hash, block.block_hash().to_string());
    let found = explain(raw(&rival)).await;
    assert_eq!(found.reason, "MISSING_INPUT");
    let [contested] = &found.contested[..] else { panic!("one output: {found:?}") };
    assert_eq!((contested.claim(), &contested.spender), (Claim::Block, &first.txid().to_string()));
    assert_eq!((&contested.block_hash, contested.height), (&block.block_hash().to_string(), 1));

    // An orphan: refused, and kept for its parent.
    let parent = alice().spend(&[genesis_output(1)], &[(&alice(), 50 * COIN)]);
    let absent = OutPoint { txid: parent.txid(), vout: 0 };
    let nowhere = OutPoint { txid: first.txid(), vout: 9 };
    let orphan = alice().spend(&[absent], &[(&bob(), COIN)]);
    node.submit_transaction(&orphan).await.expect_err("no parent");
    let found = explain(id(&orphan)).await;
    assert_eq!((found.state(), found.reason.as_str()), (State::Orphan, "MISSING_INPUT"));
    let wrong = alice().spend(&[absent, nowhere], &[(&bob(), COIN)]);
    let claims: Vec<_> = explain(raw(&wrong)).await.contested.iter().map(|c| c.claim()).collect();
    assert_eq!(claims, [Claim::UnknownTransaction, Claim::NoSuchOutput]);
    // Too large for any block: the rule, and no search for its thousands of inputs.
    let mut large = first.clone();
    large.inputs = vec![large.inputs[0].clone(); 1_000];
    let found = explain(raw(&large)).await;
    assert_eq!((found.reason.as_str(), found.contested.len()), ("TRANSACTION_TOO_LARGE", 0));
    let request = proto::ExplainTransactionRequest { transaction: None };
    let refused = node.reads.clone().explain_transaction(request).await.expect_err("nothing");
    assert_eq!(refused.code(), Code::InvalidArgument);
    node.stop().await;
}

async fn follow(
    node: &Node,
    person: &Person,
    cursor: &str,
) -> Streaming<proto::FollowAddressesResponse> {
    let addresses = vec![person.text()];
    let request = proto::FollowAddressesRequest { addresses, cursor: cursor.to_owned() };
    node.events.clone().follow_addresses(request).await.expect("a stream").into_inner()
}

/// The next event of the main chain in short, and its cursor.
async fn next(events: &mut Streaming<proto::FollowAddressesResponse>) -> (String, String) {
    let message = loop {
        let message = timeout(PATIENCE, events.message()).await.expect("an event in time");
        let message = message.expect("no error").expect("no end");
        let is_mempool = matches!(
            message.event,
            Some(Event::MempoolReset(_) | Event::Waiting(_) | Event::Removed(_))
        );
        if !is_mempool {
            break message;
        }
    };
    let txids = |touched: proto::AddressesTouched| {
        touched.transactions.into_iter().map(|tx| tx.txid).collect::<Vec<_>>().join(" ")
    };
    let event = match message.event.expect("an event") {
        Event::Apply(touched) => format!("apply {}", txids(touched)),
        Event::Undo(touched) => format!("undo {}", txids(touched)),
        Event::Reset(reset) => format!("reset {}", reset.header.expect("set").height),
        Event::Pass(pass) => format!("pass {}", pass.height),
        other => panic!("{other:?}"),
    };
    (event, message.cursor)
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_are_followed_through_a_reorganisation() {
    let (here, there) = (directory(), directory());
    let (node, other) = (Node::open(here.path()), Node::in_memory(there.path()));
    let mut events = follow(&node, &bob(), "").await;
    let (reset, cursor) = next(&mut events).await;
    assert_eq!(reset, "reset 0");
    let receives = alice().spend(&[genesis_output(0)], &[(&bob(), 100 * COIN - FEE)]);
    let received = OutPoint { txid: receives.txid(), vout: 0 };
    let spends = bob().spend(&[received], &[(&alice(), 99 * COIN)]);
    let foreign = alice().spend(&[genesis_output(1)], &[(&alice(), 99 * COIN)]);
    let miner = Person::new(9);
    node.mine(1, &miner).await;
    for payment in [&receives, &foreign] {
        node.submit_transaction(payment).await.expect("valid");
    }
    node.mine(1, &miner).await;
    let (event, middle) = next(&mut events).await;
    assert_eq!(event, format!("apply {}", receives.txid()));
    node.submit_transaction(&spends).await.expect("valid");
    node.mine(1, &miner).await;
    assert_eq!(next(&mut events).await.0, format!("apply {}", spends.txid()));

    for block in other.mine(5, &alice()).await {
        node.submit_block(&block).await.expect("a valid block");
    }
    assert_eq!(next(&mut events).await.0, format!("undo {}", spends.txid()));
    assert_eq!(next(&mut events).await.0, format!("undo {}", receives.txid()));
    // They are back in the mempool and enter the next block together.
    node.mine(1, &miner).await;
    let both = format!("apply {} {}", receives.txid(), spends.txid());
    assert_eq!(next(&mut events).await.0, both);
    // A client that was away sees the same, from wherever it stood.
    let mut events = follow(&node, &bob(), &cursor).await;
    assert_eq!(next(&mut events).await.0, both);
    let mut events = follow(&node, &bob(), &middle).await;
    assert_eq!(next(&mut events).await.0, format!("undo {}", receives.txid()));
    assert_eq!(next(&mut events).await.0, both);
    for (addresses, field) in [(vec![], "addresses"), (vec!["x".to_owned()], "addresses")] {
        let request = proto::FollowAddressesRequest { addresses, cursor: String::new() };
        let refused = node.events.clone().follow_addresses(request).await.expect_err(field);
        assert_eq!(pentad_api::status::explain(&refused).field.as_deref(), Some(field));
    }
    node.stop().await;
    other.stop().await;
}
