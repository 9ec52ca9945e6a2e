//! Validators that lie, as real processes beside honest ones.

use std::fs;

use pentad_tests::{Devnet, Running, start, wait_until};

use crate::coins::{COIN, balance, create_wallet};
use crate::pbft::{chain, pay};

/// Takes the key from a node, which follows from now on, and gives it to a liar beside it.
fn corrupt(devnet: &Devnet, number: usize) -> Running {
    devnet.stop(number);
    let honest = devnet.node(number).data_dir().join("validator.key");
    let stolen = devnet.dir().join(format!("stolen-{number}.key"));
    fs::rename(honest, &stolen).expect("the key of a validator");
    devnet.restart();
    let network = devnet.network();
    let node = devnet.node(number);
    let path = |path: &std::path::Path| path.display().to_string();
    let arguments = [
        network["chain_spec"].as_str().expect("a chain spec").to_owned(),
        path(&stolen),
        node.grpc(),
        path(&node.cookie_path()),
    ];
    let log = devnet.dir().join(format!("liar-{number}.log"));
    let liar = start("examples/liar", &arguments, &log);
    wait_until("the liar has links", || {
        fs::read_to_string(&log).is_ok_and(|text| text.contains("lying"))
    });
    liar
}

/// The primaries of the first two views propose two blocks at once and vote for and against
/// everything; seven validators bear two of them.
#[test]
fn seven_validators_go_on_with_two_liars_among_them() {
    let devnet = Devnet::up_pbft(7);
    let alice = devnet.genesis_address();
    let bob = create_wallet(&devnet, 3, "bob");
    let liars = [1, 2].map(|number| corrupt(&devnet, number));
    for payment in 1..=5 {
        let (height, _) = pay(&devnet, 1, &alice, &bob, "10");
        assert!(height >= payment, "payment {payment} at height {height}");
    }
    let nodes = [1, 2, 3, 4, 5, 6, 7];
    devnet.converge(&nodes);
    let longest = chain(&devnet, 3);
    for node in nodes {
        assert_eq!(chain(&devnet, node), longest, "node {node}");
        assert_eq!(balance(&devnet, node, &bob), [50 * COIN, 0, 0], "node {node}");
    }
    let convicted = (3..=7).any(|node| {
        let evidence = devnet.on(node, &["consensus", "list-evidence"]).success();
        let list = evidence["evidence"].as_array().cloned().unwrap_or_default();
        list.iter()
            .any(|evidence| ["node1", "node2"].map(Into::into).contains(&evidence["validator"]))
    });
    assert!(convicted, "nobody holds evidence against the liars");
    drop(liars);
}
