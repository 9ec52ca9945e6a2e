use std::net::SocketAddr;
use std::time::Duration;

use crate::kademlia::bucket::MAX_REPLACEMENTS;
use crate::kademlia::table::{MAX_PER_SUBNET_BUCKET, MAX_PER_SUBNET_TABLE};
use crate::kademlia::{Contact, Insertion, K, NodeId, RoutingTable};

const NOW: Duration = Duration::from_secs(1);

fn table() -> RoutingTable {
    RoutingTable::new(NodeId::from_bytes([0; 20]), NOW)
}

/// The contact whose id starts with these bytes, at its own port.
fn contact(prefix: [u8; 2]) -> Contact {
    let mut id = [0; 20];
    id[..2].copy_from_slice(&prefix);
    let endpoint = ([127, 0, 0, 1], 10_000 + u16::from_be_bytes(prefix) % 50_000).into();
    Contact { id: NodeId::from_bytes(id), endpoint }
}

#[test]
fn the_bucket_with_the_own_id_splits() {
    let mut table = table();
    for n in 0..=u8::MAX {
        table.insert(contact([n, 1]));
    }
    let buckets = table.buckets();
    assert!(buckets.len() > 3, "{}", buckets.len());
    assert_eq!(buckets.iter().map(|bucket| bucket.contacts.len()).sum::<usize>(), table.len());
    for bucket in &buckets {
        assert!(bucket.contacts.len() <= K);
        for contact in &bucket.contacts {
            assert!(contact.id.common_prefix(&bucket.from) >= bucket.depth);
        }
    }
    assert!(buckets.windows(2).all(|pair| pair[0].from < pair[1].from));
}

/// Ids from one half of the space whose contacts share a prefix of one bit: 1 mod 5 splits; at a
/// shared prefix of five bits the bucket stays whole, and its head is challenged.
#[test]
fn the_rule_of_five_ends_splitting() {
    let mut table = table();
    let mut challenges = Vec::new();
    // All ids start with 10000, and differ in the sixth bit.
    for n in 0..=u8::MAX {
        match table.insert(contact([0x80 | (n & 0x07), n])) {
            Insertion::Cached { challenge } => challenges.push(challenge),
            other => assert_eq!(other, Insertion::Added),
        }
    }
    let full = table.buckets().into_iter().find(|bucket| bucket.contacts.len() == K);
    let full = full.expect("a full bucket");
    assert_eq!(full.contacts.len(), table.len());
    assert_eq!(challenges, vec![full.contacts[0]; 256 - K]);
}

fn full_bucket() -> (RoutingTable, Vec<Contact>) {
    let mut table = table();
    let contacts: Vec<Contact> = (0..=u8::MAX).map(|n| contact([0x80 | (n & 7), n])).collect();
    for contact in &contacts {
        table.insert(*contact);
    }
    (table, contacts)
}

#[test]
fn a_failing_head_is_replaced_by_the_newest() {
    let (mut table, contacts) = full_bucket();
    assert!(!table.fail(&contacts[0]), "one lost datagram is forgiven");
    assert!(table.contains(&contacts[0]));
    assert!(table.fail(&contacts[0]));
    assert!(!table.contains(&contacts[0]));
    assert!(table.contains(&contacts[255]));
    assert_eq!(table.len(), K);
}

#[test]
fn an_answering_head_moves_to_the_tail() {
    let (mut table, contacts) = full_bucket();
    assert!(!table.fail(&contacts[0]));
    assert_eq!(table.insert(contacts[0]), Insertion::Touched);
    assert!(!table.fail(&contacts[0]), "the count starts anew");
    let challenge = contacts[1];
    assert_eq!(table.insert(contact([0x81, 99])), Insertion::Cached { challenge });
}

#[test]
fn replacements_are_bounded() {
    let (mut table, contacts) = full_bucket();
    assert_eq!(contacts.len(), 256);
    let mut failed = 0;
    while !table.is_empty() {
        let contact = *table.contacts().next().expect("not empty");
        failed += usize::from(table.fail(&contact));
    }
    assert_eq!(failed, K + MAX_REPLACEMENTS);
    assert!(table.is_empty());
}

#[test]
fn an_id_from_elsewhere_does_not_displace_a_contact() {
    let mut table = table();
    let old = contact([9, 9]);
    let new = Contact { endpoint: ([127, 0, 0, 1], 4).into(), ..old };
    assert_eq!(table.insert(old), Insertion::Added);
    assert_eq!(table.insert(new), Insertion::Cached { challenge: old });
    assert!(table.contains(&old) && !table.contains(&new));
    table.fail(&old);
    table.fail(&old);
    assert!(table.contains(&new) && !table.contains(&old));
}

#[test]
fn a_new_id_at_an_endpoint_displaces_the_old() {
    let mut table = table();
    let old = contact([9, 9]);
    let new = Contact { id: contact([7, 7]).id, ..old };
    table.insert(old);
    assert_eq!(table.insert(new), Insertion::Added);
    assert_eq!(table.contacts().collect::<Vec<_>>(), [&new]);
    let own = Contact { id: NodeId::from_bytes([0; 20]), ..old };
    assert_eq!(table.insert(own), Insertion::Refused);
    assert!(table.is_empty());
}

#[test]
fn several_nodes_share_an_address() {
    let mut table = table();
    for port in 1..=19 {
        let id = NodeId::of_name(&[port]);
        let endpoint = ([127, 0, 0, 1], port.into()).into();
        assert_eq!(table.insert(Contact { id, endpoint }), Insertion::Added);
    }
    assert_eq!(table.len(), 19);
}

/// Attack 43.
#[test]
fn many_ids_from_one_subnet_are_limited() {
    let mut table = table();
    let sybil = |n: u16| -> SocketAddr { ([203, 0, 113, n.to_be_bytes()[1]], 1_000 + n).into() };
    for n in 0..2_000_u16 {
        let id = NodeId::of_name(&n.to_be_bytes());
        table.insert(Contact { id, endpoint: sybil(n) });
    }
    assert!(table.len() <= MAX_PER_SUBNET_BUCKET, "in one bucket, that never needed to split");
    // Honest nodes from everywhere; then the others try again in every bucket there is.
    for n in 0..2_000_u16 {
        let [high, low] = n.to_be_bytes();
        let endpoint = ([50 + high, low, 1, 1], 5678).into();
        table.insert(Contact { id: NodeId::of_name(&[high, low, 1]), endpoint });
    }
    for n in 0..2_000_u16 {
        let id = NodeId::of_name(&n.to_be_bytes());
        table.insert(Contact { id, endpoint: sybil(n) });
    }
    let sybils = |it: &&Contact| it.endpoint.ip().to_string().starts_with("203.0.113.");
    assert!(table.contacts().filter(sybils).count() <= MAX_PER_SUBNET_TABLE);
    assert!(table.len() > 100);
    for bucket in table.buckets() {
        assert!(bucket.contacts.iter().filter(sybils).count() <= MAX_PER_SUBNET_BUCKET);
    }
}

/// Attack 43: those who wait for a place have not more of them once places become free.
#[test]
fn many_replacements_from_one_subnet_are_limited() {
    let mut table = table();
    let id = |n: u8, kind: u8| {
        // One bucket, far from the own id, whose contacts share a prefix of five bits.
        let mut id = [0; 20];
        id[..3].copy_from_slice(&[0b1111_1000 | (n & 7), n, kind]);
        NodeId::from_bytes(id)
    };
    let honest: Vec<Contact> = (0..100)
        .map(|n| Contact { id: id(n, 0), endpoint: ([50, n, 1, 1], 5678).into() })
        .collect();
    for contact in &honest {
        table.insert(*contact);
    }
    for n in 0..100 {
        let endpoint: SocketAddr = ([203, 0, 113, n], 5678).into();
        table.insert(Contact { id: id(n, 1), endpoint });
    }
    for contact in honest.iter().chain(&honest) {
        table.fail(contact);
    }
    let sybils = |it: &&Contact| it.endpoint.ip().to_string().starts_with("203.0.113.");
    for bucket in table.buckets() {
        let count = bucket.contacts.iter().filter(sybils).count();
        assert!(count <= MAX_PER_SUBNET_BUCKET, "{count} of one subnet");
    }
}

#[test]
fn closest_leaves_out_the_target_and_the_asking_endpoint() {
    let mut table = table();
    let contacts: Vec<Contact> = (0..=99).map(|n| contact([n, 1])).collect();
    for contact in &contacts {
        table.insert(*contact);
    }
    let target = contacts[5].id;
    let asking = contacts[4].endpoint;
    let closest = table.closest(&target, K, Some(asking));
    let mut expected: Vec<Contact> = table.contacts().copied().collect();
    expected.retain(|contact| contact.id != target && contact.endpoint != asking);
    expected.sort_by_key(|contact| contact.id.distance(&target));
    assert_eq!(closest, expected[..K]);
}

#[test]
fn stale_buckets_ask_for_ids_of_their_own() {
    let mut table = table();
    for n in 0..=u8::MAX {
        table.insert(contact([n, 1]));
    }
    let later = NOW + Duration::from_secs(3_600);
    table.looked_up(&contact([0x80, 1]).id, later);
    let random = NodeId::from_bytes([0x55; 20]);
    let targets = table.stale(NOW, || random);
    let others: Vec<_> = table
        .buckets()
        .into_iter()
        .filter(|it| !it.contacts.contains(&contact([0x80, 1])))
        .collect();
    assert_eq!(targets.len(), others.len());
    for (target, bucket) in targets.iter().zip(others) {
        assert!(target.common_prefix(&bucket.from) >= bucket.depth);
    }
}
