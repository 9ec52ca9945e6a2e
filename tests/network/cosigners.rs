//! Payments of several, and payments that wait for a second person: on two nodes, by commands.

use pentad_tests::{Devnet, wait_until};
use serde_json::Value;

use crate::coins::{COIN, balance, create_wallet, send};

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("{field} in {value}")).to_owned()
}

#[test]
fn a_wallet_of_two_pays_when_both_nodes_have_signed() {
    let devnet = Devnet::up(2);
    let payee = devnet.genesis_address();
    let mut cosigners = Vec::new();
    for node in [1, 2] {
        create_wallet(&devnet, node, "mine");
        let shown = devnet.on(node, &["psbt", "show-cosigner", "--wallet", "mine"]).success();
        cosigners.push(text(&shown, "cosigner"));
    }
    let vaults = [1, 2].map(|node| {
        let (one, two) = (&cosigners[node - 1], &cosigners[2 - node]);
        let made = devnet.on(
            node,
            &[
                "psbt",
                "create-multisig",
                "--wallet",
                "vault",
                "--signer",
                "mine",
                "--required",
                "2",
                "--cosigners",
                one,
                "--cosigners",
                two,
            ],
        );
        text(&made.success(), "address")
    });
    assert_eq!(vaults[0], vaults[1], "whoever makes it, and whomever he names first");
    send(&devnet, 1, "genesis", &vaults[0], "50");
    devnet.generate(1, 1);
    devnet.converge(&[1, 2]);

    let before = balance(&devnet, 1, &payee)[0];
    let payment = format!("address={payee},amount=20");
    let create = ["psbt", "create-psbt", "--wallet", "vault", "--payments", &payment];
    let created = devnet.on(1, &create).success();
    let fee: i64 = text(&created, "fee").parse().expect("units");
    let psbt = text(&created, "psbt");
    let sign = |node, psbt: &str| {
        let sign = ["psbt", "sign-psbt", "--wallet", "vault", "--psbt", psbt];
        text(&devnet.on(node, &sign).success(), "psbt")
    };
    let (by_one, by_two) = (sign(1, &psbt), sign(2, &psbt));
    let refused = devnet.on(1, &["psbt", "submit-psbt", "--psbt", &by_one]).failure(1);
    assert!(refused.contains("1 of 2 signatures"), "{refused}");
    let join = ["psbt", "combine-psbts", "--psbts", &by_one, "--psbts", &by_two];
    let joined = text(&devnet.on(2, &join).success(), "psbt");
    devnet.on(2, &["psbt", "submit-psbt", "--psbt", &joined]).success();
    devnet.generate(2, 1);
    devnet.converge(&[1, 2]);
    assert_eq!(balance(&devnet, 1, &payee)[0], before + 20 * COIN);
    let left = devnet.on(2, &["wallet", "get-balance", "--wallet", "vault"]).success();
    let confirmed: i64 = text(&left, "confirmed").parse().expect("units");
    assert_eq!(confirmed, 30 * COIN - fee);
    for node in [1, 2] {
        devnet.on(node, &["audit", "verify-log"]).success();
    }
}

#[test]
fn a_large_payment_waits_for_somebody_on_another_node() {
    let devnet = Devnet::up(2);
    let boss = create_wallet(&devnet, 2, "boss");
    let passphrase = std::fs::read_to_string(devnet.node(1).data_dir().join("passphrase"));
    let passphrase = passphrase.expect("readable").trim().to_owned();
    devnet
        .on(
            1,
            &[
                "policy",
                "set-policy",
                "--wallet",
                "genesis",
                "--passphrase",
                &passphrase,
                "--policy-approval-above",
                "10",
                "--policy-approver",
                &boss,
            ],
        )
        .success();
    let pay = ["send", "--from", "genesis", "--to", &boss, "--amount", "25"];
    let waits = devnet.on(1, &pay).failure(1);
    assert!(waits.contains("waits for approval"), "{waits}");
    let waiting = devnet.on(1, &["policy", "list-approvals"]).success();
    let (approval, words) =
        (text(&waiting["approvals"][0], "approval"), text(&waiting["approvals"][0], "text"));
    let sign = ["keystore", "sign-message", "--address", &boss, "--message", &words];
    devnet.on(1, &sign).failure(1);
    let signature = text(&devnet.on(2, &sign).success(), "signature");
    let approve = ["policy", "approve", "--approval", &approval, "--signature", &signature];
    devnet.on(1, &approve).success();
    devnet.on(1, &approve).failure(1);
    wait_until("the payment reaches node 2", || balance(&devnet, 2, &boss)[1] == 25 * COIN);
}
