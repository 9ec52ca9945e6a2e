//! Payments of several: cosigners on nodes of their own, PSBTs in between.

use pentad_api::status::explain;
use pentad_api::wallet::v1::*;
use tonic::{Code, Status};

use crate::bed::{Bed, COIN, from_wallet};

const STRANGER: &str = "1BitcoinEaterAddressDontSendf59kuE";

/// Nodes on one chain, a wallet `mine` on each.
async fn nodes<const N: usize>() -> ([Bed; N], Vec<String>) {
    let (mut beds, mut cosigners) = (Vec::new(), Vec::new());
    for _ in 0..N {
        let mut bed = Bed::start().await;
        if let Some(first) = beds.first() {
            let first: &Bed = first;
            bed.chain = first.chain.clone();
            bed.restart().await;
        }
        bed.create("mine").await;
        let request = ShowCosignerRequest { wallet: "mine".to_owned(), passphrase: String::new() };
        let shown = bed.psbt().show_cosigner(request).await.expect("shown").into_inner();
        cosigners.push(shown.cosigner);
        beds.push(bed);
    }
    (beds.try_into().unwrap_or_else(|_| panic!("as many as asked for")), cosigners)
}

/// Pays in a transaction that is there to be asked for.
fn fund(bed: &Bed, address: &str, units: u64) {
    bed.chain.announce(address, units);
    bed.chain.mine(1);
}

async fn vault(
    bed: &Bed,
    required: u32,
    cosigners: &[String],
) -> Result<CreateMultisigResponse, Status> {
    let request = CreateMultisigRequest {
        wallet: "vault".to_owned(),
        signer: "mine".to_owned(),
        required,
        cosigners: cosigners.to_vec(),
        passphrase: String::new(),
    };
    Ok(bed.psbt().create_multisig(request).await?.into_inner())
}

async fn create(bed: &Bed, wallet: &str, units: u64) -> Result<CreatePsbtResponse, Status> {
    let request = CreatePsbtRequest {
        wallet: wallet.to_owned(),
        payments: vec![Payment { address: STRANGER.to_owned(), amount: units }],
        ..Default::default()
    };
    Ok(bed.psbt().create_psbt(request).await?.into_inner())
}

async fn sign(bed: &Bed, wallet: &str, psbt: &str) -> Result<SignPsbtResponse, Status> {
    let (wallet, psbt) = (wallet.to_owned(), psbt.to_owned());
    Ok(bed.psbt().sign_psbt(SignPsbtRequest { psbt, wallet }).await?.into_inner())
}

async fn show(bed: &Bed, psbt: &str) -> ShowPsbtResponse {
    let request = ShowPsbtRequest { psbt: psbt.to_owned() };
    bed.psbt().show_psbt(request).await.expect("shown").into_inner()
}

async fn submit(bed: &Bed, psbt: &str) -> Result<SubmitPsbtResponse, Status> {
    let request = SubmitPsbtRequest { psbt: psbt.to_owned() };
    Ok(bed.psbt().submit_psbt(request).await?.into_inner())
}

#[track_caller]
fn refused(status: &Status, code: Code, reason: &str) {
    assert_eq!((status.code(), explain(status).reason.as_str()), (code, reason), "{status:?}");
}

#[tokio::test]
async fn two_of_three_pay_and_one_does_not() {
    let ([one, mut two, three], cosigners) = nodes().await;
    let first = vault(&one, 2, &cosigners).await.expect("made");
    let mut others: Vec<_> = cosigners.clone();
    others.rotate_left(1);
    // The order in which they are named does not matter (BIP67).
    let second = vault(&two, 2, &others).await.expect("made");
    assert_eq!(first.address, second.address);
    assert!(first.address.starts_with('3'));
    assert!(first.descriptor.starts_with("sh(sortedmulti(2,["), "{}", first.descriptor);
    vault(&three, 2, &cosigners).await.expect("made");
    for _ in 0..3 {
        one.chain.announce(&first.address, 2 * COIN);
    }
    one.chain.mine(1);
    assert_eq!(one.balance("vault").await.confirmed, 6 * COIN);
    let created = create(&one, "vault", 5 * COIN).await.expect("unsigned");
    let shown = show(&two, &created.psbt).await;
    assert_eq!((shown.fee, shown.complete, shown.inputs.len()), (created.fee, false, 3));
    assert_eq!((shown.inputs[0].signed, shown.inputs[0].required), (0, 2));
    assert_eq!(shown.payments[0], Payment { address: STRANGER.to_owned(), amount: 5 * COIN });
    // One signature is not enough.
    let by_one = sign(&one, "vault", &created.psbt).await.expect("signed");
    assert_eq!((by_one.signed, by_one.complete), (3, false));
    let status = submit(&one, &by_one.psbt).await.expect_err("one of two");
    refused(&status, Code::FailedPrecondition, "SIGNATURES_MISSING");
    // Two sign copies at the same time; the third joins and submits them.
    two.restart().await;
    let by_two = sign(&two, "vault", &created.psbt).await.expect("signed");
    let psbts = vec![by_one.psbt.clone(), by_two.psbt];
    let combined = three.psbt().combine_psbts(CombinePsbtsRequest { psbts }).await;
    let combined = combined.expect("combined").into_inner();
    assert!(combined.complete);
    let request = FinalizePsbtRequest { psbt: combined.psbt.clone() };
    let raw = three.psbt().finalize_psbt(request).await.expect("final").into_inner();
    let paid = submit(&three, &combined.psbt).await.expect("paid");
    assert_eq!((paid.txid.as_str(), paid.fee), (raw.txid.as_str(), created.fee));
    // The fee is that of the size: a signature may be a byte or two shorter than the longest, and
    // the length of a script before it two bytes.
    let bytes = raw.transaction.len() as u64;
    assert!((bytes..=bytes + 3 * (2 * 2 + 2)).contains(&paid.fee), "{} for {bytes}", paid.fee);
    one.chain.mine(1);
    // Change is back at an address of all.
    for bed in [&one, &two, &three] {
        assert_eq!(bed.balance("vault").await.confirmed, COIN - paid.fee);
    }
    // One that did not make it can spend it, and another sign.
    let next = create(&three, "vault", COIN / 2).await.expect("unsigned");
    let by_two = sign(&two, "vault", &next.psbt).await.expect("signed");
    let by_both = sign(&three, "vault", &by_two.psbt).await.expect("signed");
    submit(&three, &by_both.psbt).await.expect("paid");
}

#[tokio::test]
async fn copies_signed_one_after_the_other_need_no_joining() {
    let ([one, two], cosigners) = nodes().await;
    let made = vault(&one, 2, &cosigners).await.expect("made");
    vault(&two, 2, &cosigners).await.expect("made");
    fund(&one, &made.address, 2 * COIN);
    let created = create(&one, "vault", COIN).await.expect("unsigned");
    let by_one = sign(&one, "vault", &created.psbt).await.expect("signed");
    let by_both = sign(&two, "vault", &by_one.psbt).await.expect("signed");
    assert!(by_both.complete);
    submit(&two, &by_both.psbt).await.expect("paid");
    // Every signature is in its signer's audit log, under the signer's name.
    for bed in [&one, &two] {
        let request = ListEntriesRequest { wallet: "mine".to_owned(), ..Default::default() };
        let entries = bed.audit().list_entries(request).await.expect("listed").into_inner();
        let last = entries.entries.last().expect("entries");
        assert_eq!(last.event, "psbt-signed");
        assert!(last.details.contains(r#""of":"vault""#), "{}", last.details);
    }
}

#[tokio::test]
async fn what_is_watched_is_signed_where_the_keys_are() {
    let ([keys, eye], _) = nodes().await;
    let alice = keys.create("alice").await;
    fund(&keys, &alice, 2 * COIN);
    let (wallet, addresses) = ("eye".to_owned(), vec![alice.clone()]);
    let request = WatchWalletRequest { wallet, account: String::new(), addresses };
    eye.keystore().watch_wallet(request).await.expect("watched");
    let created = create(&eye, "eye", COIN).await.expect("unsigned");
    let status = sign(&eye, "eye", &created.psbt).await.expect_err("no keys");
    refused(&status, Code::FailedPrecondition, "WATCH_ONLY");
    let status = sign(&keys, "mine", &created.psbt).await.expect_err("another's coins");
    refused(&status, Code::FailedPrecondition, "NOTHING_TO_SIGN");
    let signed = sign(&keys, "alice", &created.psbt).await.expect("signed");
    assert!(signed.complete);
    let paid = submit(&eye, &signed.psbt).await.expect("paid");
    assert_eq!(keys.chain.mempool()[0].txid().to_string(), paid.txid);
}

/// A policy holds for whatever the wallet signs, a PSBT too.
#[tokio::test]
async fn a_policy_is_not_passed_by_a_psbt() {
    let ([bed], _) = nodes().await;
    let mine = bed.list().await[0].addresses[0].clone();
    fund(&bed, &mine, 10 * COIN);
    let set = async |policy| {
        let (wallet, passphrase) = ("mine".to_owned(), "open sesame".to_owned());
        let request = SetPolicyRequest { wallet, passphrase, policy: Some(policy) };
        bed.policy().set_policy(request).await.expect("set");
    };
    set(Policy { limit_per_day: Some(2 * COIN), ..Policy::default() }).await;
    let large = create(&bed, "mine", 3 * COIN).await.expect("unsigned").psbt;
    let small = create(&bed, "mine", COIN).await.expect("unsigned").psbt;
    let status = sign(&bed, "mine", &large).await.expect_err("over the limit");
    refused(&status, Code::FailedPrecondition, "LIMIT_PER_DAY");
    sign(&bed, "mine", &small).await.expect("within the limit");
    let status = sign(&bed, "mine", &small).await.expect_err("it counted");
    refused(&status, Code::FailedPrecondition, "LIMIT_PER_DAY");
    set(Policy { allowed: vec![mine], ..Policy::default() }).await;
    let status = sign(&bed, "mine", &small).await.expect_err("a stranger");
    refused(&status, Code::FailedPrecondition, "ADDRESS_NOT_ALLOWED");
    let approver = "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2".to_owned();
    set(Policy { approver, approval_above: Some(1), ..Policy::default() }).await;
    let status = sign(&bed, "mine", &small).await.expect_err("nobody approved");
    refused(&status, Code::FailedPrecondition, "APPROVAL_NEEDED");
}

#[tokio::test]
async fn who_is_no_cosigner_and_what_is_no_psbt_is_refused() {
    let ([one, two], cosigners) = nodes().await;
    let alone = &cosigners[1..];
    let status = vault(&one, 1, alone).await.expect_err("not among them");
    refused(&status, Code::InvalidArgument, "NOT_A_COSIGNER");
    for (required, list, what) in [
        (0, cosigners.clone(), "nobody signs"),
        (3, cosigners.clone(), "more than there are"),
        (1, vec![], "no keys"),
        (2, vec![cosigners[0].clone(); 2], "one twice"),
        (1, vec![cosigners[0].replace("xpub", "xpuc")], "a typing error"),
        (1, vec![cosigners[0].replace("/0']", "/0'/0]")], "another depth"),
    ] {
        let status = vault(&one, required, &list).await.expect_err(what);
        refused(&status, Code::InvalidArgument, "COSIGNERS");
    }
    let vaults = vault(&one, 1, &cosigners).await.expect("made");
    let status = one.send(from_wallet("vault", STRANGER, COIN)).await.expect_err("not by send");
    refused(&status, Code::FailedPrecondition, "WATCH_ONLY");
    for text in ["", "hello", "cHNidP8=", "AAAA"] {
        let status = submit(&one, text).await.expect_err(text);
        refused(&status, Code::InvalidArgument, "INVALID_PSBT");
    }
    let psbts = vec!["cHNidP8=".to_owned()];
    let status = one.psbt().combine_psbts(CombinePsbtsRequest { psbts }).await.expect_err("one");
    refused(&status, Code::InvalidArgument, "PSBTS");
    // A locked signer signs nothing.
    fund(&one, &vaults.address, 2 * COIN);
    let created = create(&one, "vault", COIN).await.expect("unsigned");
    one.keystore().lock_wallet(LockWalletRequest { wallet: "mine".to_owned() }).await.expect("ok");
    let status = sign(&one, "vault", &created.psbt).await.expect_err("locked");
    refused(&status, Code::FailedPrecondition, "WALLET_LOCKED");
    // 1 of 2: the other alone is enough.
    vault(&two, 1, &cosigners).await.expect("made");
    let signed = sign(&two, "vault", &created.psbt).await.expect("signed");
    submit(&two, &signed.psbt).await.expect("paid");
}
