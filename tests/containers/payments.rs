//! Payments between organisations.

use pentad_tests::{wait_for, wait_until};

use crate::network::{Network, text};

/// What an organisation's chain service says an address has.
fn confirmed(network: &Network, organisation: usize, address: &str) -> String {
    text(&network.on(organisation, &["balance", address]).success(), "confirmed")
}

#[test]
fn a_payment_between_organisations_is_final_on_all_four_and_outlives_the_containers() {
    let network = Network::up("pbft");
    let bob = network.create_wallet(2, "bob");
    let pay = ["send", "--from", "genesis", "--to", &bob, "--amount", "100", "--wait"];
    let paid = network.on(1, &pay).success();
    assert_eq!(paid["height"], 1, "{paid}");
    let chain = network.converge();
    assert_eq!(chain[1], text(&paid, "block_hash"));
    for organisation in 1..=4 {
        assert_eq!(confirmed(&network, organisation, &bob), "100.00000000");
    }
    network.script(&["down"]);
    network.script(&["up"]);
    assert_eq!(network.converge(), chain);
    let alice = network.create_wallet(3, "alice");
    let pay = ["send", "--from", "bob", "--to", &alice, "--amount", "1", "--wait"];
    let paid = network.on(2, &pay).success();
    assert_eq!(network.converge()[2], text(&paid, "block_hash"));
}

#[test]
fn a_payment_is_mined_where_work_orders_the_blocks() {
    let network = Network::up("pow");
    let bob = network.create_wallet(2, "bob");
    let pay = ["send", "--from", "genesis", "--to", &bob, "--amount", "100"];
    network.on(1, &pay).success();
    for organisation in 1..=4 {
        wait_for("the payment is mined", || match confirmed(&network, organisation, &bob) {
            confirmed if confirmed == "100.00000000" => Ok(()),
            confirmed => Err(format!("org{organisation}: {confirmed}")),
        });
    }
    wait_until("all four mine", || {
        let mined = (1..=4).filter(|organisation| {
            let status = network.on(*organisation, &["miner", "get-status"]).success();
            status["blocksFound"].as_str().is_some_and(|blocks| blocks != "0")
        });
        mined.count() == 4
    });
}
