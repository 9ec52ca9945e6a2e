use super::*;
use crate::PeerConfig;

const NOW: Duration = Duration::from_secs(1000);
const KEY: StaticKey = StaticKey::from_bytes([7; 32]);

fn table(outbound_max: usize) -> Addresses {
    Addresses::new(outbound_max, PeerConfig::default().shares(), 7)
}

fn sorted(mut addresses: Vec<String>) -> Vec<String> {
    addresses.sort();
    addresses
}

fn due(addresses: &mut Addresses, now: Duration) -> Vec<String> {
    addresses.due(now, &BTreeSet::new(), 0)
}

#[test]
fn malformed_addresses_are_refused() {
    let mut addresses = table(8);
    for bad in ["", "host", "host:", ":1", "host:0", "host:65536", "a b:1", "host:1\n:2"] {
        let error = addresses.insert(bad, Origin::Added).expect_err(bad);
        assert_eq!(error, AddressError::Malformed { address: bad.to_owned() });
    }
    for good in ["host:1", "127.0.0.1:65535", "[::1]:5678", "peer-1.example:5678"] {
        addresses.insert(good, Origin::Added).expect(good);
    }
}

#[test]
fn kept_nodes_are_dialled_for_ever_and_hints_are_not() {
    let mut addresses = table(8);
    addresses.insert("kept:1", Origin::Bootstrap).expect("valid");
    addresses.insert("hint:1", Origin::Hint).expect("valid");
    let mut now = NOW;
    assert_eq!(due(&mut addresses, now), ["kept:1", "hint:1"]);
    assert!(due(&mut addresses, now).is_empty(), "both are being dialled");
    for _ in 0..20 {
        addresses.on_end("kept:1", now, Ending::Early);
        addresses.on_end("hint:1", now, Ending::Early);
        assert!(due(&mut addresses, now).is_empty(), "no dial without a pause");
        now += HINT_PAUSE_MAX;
        assert!(due(&mut addresses, now).contains(&"kept:1".to_owned()));
    }
    assert!(!addresses.entries.contains_key("hint:1"));
}

#[test]
fn a_node_that_is_connected_by_another_address_is_left_alone() {
    let mut addresses = table(8);
    addresses.insert("a:1", Origin::Added).expect("valid");
    assert_eq!(due(&mut addresses, NOW), ["a:1"]);
    addresses.on_found("a:1", NOW, KEY);
    addresses.on_end("a:1", NOW, Ending::Early);
    let later = NOW + KEPT_PAUSE_MAX;
    assert!(addresses.due(later, &BTreeSet::from([KEY]), 1).is_empty());
    assert_eq!(due(&mut addresses, later), ["a:1"], "the other link is gone");
}

#[test]
fn this_node_itself_is_dialled_once() {
    let mut addresses = table(8);
    addresses.insert("me:1", Origin::Bootstrap).expect("valid");
    assert_eq!(due(&mut addresses, NOW).len(), 1);
    addresses.on_self("me:1");
    addresses.on_end("me:1", NOW, Ending::Final);
    assert!(due(&mut addresses, NOW * 2).is_empty());
}

/// Attack 44: inbound links and hints cannot take what is for kept nodes.
#[test]
fn slots_are_for_hints_and_kept_nodes_need_none() {
    let mut addresses = table(2);
    for number in 1..=4 {
        addresses.insert(&format!("hint:{number}"), Origin::Hint).expect("valid");
    }
    addresses.insert("kept:1", Origin::Added).expect("valid");
    assert_eq!(due(&mut addresses, NOW).len(), 2);
    let mut addresses = table(0);
    addresses.insert("kept:1", Origin::Added).expect("valid");
    assert_eq!(due(&mut addresses, NOW), ["kept:1"]);
}

/// Attack 44: nobody can choose addresses that are dialled before all others.
#[test]
fn the_order_of_hints_cannot_be_foreseen() {
    let order = |secret| {
        let shares = PeerConfig::default().shares();
        let mut addresses = Addresses::new(1, shares, secret);
        for number in 0..100_u8 {
            let address = format!("192.{number}.2.1:1");
            addresses.insert(&address, Origin::Hint).expect("valid");
        }
        due(&mut addresses, NOW)
    };
    let first: BTreeSet<_> = (0..20).map(order).collect();
    assert!(first.len() > 10, "{first:?}");
}

/// Attack 44: one subnet gets only a part of the outbound slots and of the table.
#[test]
fn other_subnets_are_dialled_first() {
    let mut addresses = table(8);
    for host in 1..=100 {
        addresses.insert(&format!("192.0.2.{host}:1"), Origin::Hint).expect("valid");
    }
    assert_eq!(addresses.entries.len(), HINTS_PER_SUBNET_MAX);
    for net in 1..=6 {
        addresses.insert(&format!("203.0.{net}.1:1"), Origin::Hint).expect("valid");
    }
    let mut dialed = due(&mut addresses, NOW);
    assert_eq!(dialed.len(), 8);
    dialed.retain(|address| address.starts_with("192.0.2."));
    assert_eq!(dialed.len(), 2, "the others had none, six are of other subnets");
    let mut alone = table(8);
    for host in 1..=100 {
        alone.insert(&format!("192.0.2.{host}:1"), Origin::Hint).expect("valid");
    }
    assert_eq!(due(&mut alone, NOW).len(), OUTBOUND_PER_SUBNET_MAX);
}

#[test]
fn feelers_go_where_nobody_was_seen_yet_and_then_around() {
    let mut addresses = table(0);
    let mut all = Vec::new();
    for number in 1..=10 {
        all.push(format!("192.{number}.2.1:1"));
        addresses.insert(&all[number - 1], Origin::Hint).expect("valid");
    }
    addresses.insert("kept:1", Origin::Bootstrap).expect("valid");
    for round in 1..=3 {
        let mut tested = Vec::new();
        for second in 0..10 {
            let now = NOW * round + Duration::from_secs(second);
            let address = addresses.due_feeler(now, &BTreeSet::new()).expect("a hint");
            addresses.on_tested(&address, now, KEY);
            tested.push(address);
        }
        assert_eq!(sorted(tested), sorted(all.clone()), "each once a round");
    }
    assert!(addresses.due_feeler(NOW * 9, &BTreeSet::from([KEY])).is_none(), "connected");
    let first = addresses.due_feeler(NOW * 9, &BTreeSet::new()).expect("a hint");
    let second = addresses.due_feeler(NOW * 9, &BTreeSet::new()).expect("another");
    assert_ne!(first, second, "it is being tested");
    for round in 10..20 {
        addresses.on_end(&first, NOW * round, Ending::Early);
    }
    assert!(!addresses.entries.contains_key(&first), "nobody answers there");
}

/// Attack 41: a flood of invented addresses does not displace those that were seen.
#[test]
fn what_was_seen_gives_way_last() {
    let mut addresses = table(0);
    addresses.insert("honest:1", Origin::Hint).expect("valid");
    assert_eq!(addresses.due_feeler(NOW, &BTreeSet::new()).as_deref(), Some("honest:1"));
    addresses.on_tested("honest:1", NOW, KEY);
    for number in 1..=1000 {
        addresses.insert(&format!("invented:{number}"), Origin::Hint).expect("valid");
    }
    assert_eq!(addresses.entries.len(), HINTS_MAX);
    assert!(addresses.entries.contains_key("honest:1"));
}

/// Attack 41: the address table.
#[test]
fn the_table_is_bounded() {
    let mut addresses = table(8);
    for number in 1..=1000 {
        addresses.insert(&format!("hint:{number}"), Origin::Hint).expect("valid");
    }
    assert_eq!(addresses.entries.len(), HINTS_MAX);
    assert!(!addresses.entries.contains_key("hint:1"));
    for number in 1..=ADDED_MAX {
        addresses.insert(&format!("kept:{number}"), Origin::Added).expect("room");
    }
    let error = addresses.insert("kept:65535", Origin::Added).expect_err("full");
    assert_eq!(error, AddressError::TooMany);
}

#[test]
fn what_is_kept_over_a_restart() {
    let mut addresses = table(8);
    for (address, origin) in
        [("a:1", Origin::Added), ("b:1", Origin::Bootstrap), ("c:1", Origin::Hint)]
    {
        addresses.insert(address, origin).expect("valid");
    }
    addresses.on_connected("b:1");
    let kept: Vec<_> = addresses.to_keep().collect();
    assert_eq!(kept, [("a:1", Origin::Added), ("b:1", Origin::Anchor)]);
}
