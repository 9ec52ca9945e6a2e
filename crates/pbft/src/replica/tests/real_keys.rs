//! The same protocol with secp256k1 instead of names.

use std::collections::VecDeque;
use std::sync::Arc;

use pentad_crypto::SecretKey;
use pentad_primitives::Hash256;

use super::network::{block, genesis, seq};
use crate::certificate::CommitCertificate;
use crate::config::{Config, Recovered, Tip};
use crate::domain::Domain;
use crate::event::{Input, Output, Recipient, Timer};
use crate::identifiers::{ReplicaId, Sequence};
use crate::message::Message;
use crate::replica::Replica;
use crate::secp::SecpKeys;
use crate::validators::{Validator, ValidatorSet};

type Queue = VecDeque<(usize, Input)>;

fn secret(place: u8) -> SecretKey {
    SecretKey::from_bytes([place + 1; 32]).unwrap()
}

fn network(replicas: u8) -> (Arc<ValidatorSet>, Domain, Vec<Replica<SecpKeys>>) {
    let validators = (0..replicas).map(|place| {
        let key = secret(place).public_key();
        Validator { name: format!("v{place}"), key, payout: vec![place].into() }
    });
    let set = Arc::new(ValidatorSet::new(validators.collect()).unwrap());
    let domain = Domain { chain: genesis(), validators: set.hash() };
    let replicas = (0..replicas).map(|place| {
        let keys = SecpKeys::new(secret(place), Arc::clone(&set)).unwrap();
        let config = Config {
            own: keys.own(),
            quorum: set.quorum(),
            domain,
            window: 1,
            checkpoint_interval: 64,
            view_timeout_ms: 1_000,
            resend_ms: 200,
        };
        let (sequence, digest) = (Sequence::GENESIS, genesis());
        let tip = Tip { sequence, digest, certificate: None, body: None };
        Replica::new(config, keys, Recovered { records: vec![], tip, checkpoint: None }).0
    });
    let replicas = replicas.collect();
    (set, domain, replicas)
}

fn act(
    place: usize,
    outputs: Vec<Output>,
    replicas: usize,
    queue: &mut Queue,
) -> Vec<CommitCertificate> {
    let mut executed = Vec::new();
    for output in outputs {
        match output {
            Output::Send { to, message } => {
                let message = Message::from_bytes(&message.to_bytes()).unwrap();
                let meant = (0..replicas).filter(|other| match to {
                    Recipient::All => *other != place,
                    Recipient::One(one) => usize::from(one.get()) == *other,
                });
                for other in meant {
                    queue.push_back((other, Input::Message { message: message.clone() }));
                }
            }
            Output::Propose { view, sequence, parent } => {
                let (digest, body) = block(parent, sequence.get());
                let proposal = Input::Proposal { view, sequence, digest, parent, body };
                queue.push_back((place, proposal));
            }
            Output::Check { view, sequence, digest, .. } => {
                let verdict = Ok(());
                queue.push_back((place, Input::Checked { view, sequence, digest, verdict }));
            }
            Output::Execute { certificate, .. } => executed.push(certificate),
            _ => {}
        }
    }
    executed
}

/// Orders one block, after a change into view 1 if so wanted.
fn order(replicas: u8, changes_view: bool) -> (Arc<ValidatorSet>, Domain, Vec<CommitCertificate>) {
    let (set, domain, mut network) = network(replicas);
    let count = network.len();
    let mut queue = Queue::new();
    for (place, replica) in network.iter_mut().enumerate() {
        if changes_view {
            // What the primary of view 0 sends is lost with it.
            replica.step(Input::Pending(true));
            let outputs = replica.step(Input::Timeout(Timer::View));
            act(place, outputs, count, &mut queue);
        } else {
            queue.push_back((place, Input::Pending(true)));
        }
    }
    let mut executed = Vec::new();
    while let Some((place, input)) = queue.pop_front() {
        let outputs = network[place].step(input);
        executed.extend(act(place, outputs, count, &mut queue));
    }
    (set, domain, executed)
}

#[test]
fn replicas_with_real_keys_order_blocks_that_anyone_can_check() {
    for (replicas, changes_view) in [(1, false), (4, false), (4, true), (7, true)] {
        let (set, domain, executed) = order(replicas, changes_view);
        assert_eq!(executed.len(), usize::from(replicas));
        for certificate in executed {
            let read = CommitCertificate::from_bytes(&certificate.to_bytes()).unwrap();
            assert_eq!(read.sequence, seq(1));
            assert_eq!(read.view.get(), u64::from(changes_view));
            assert_eq!(read.verify(&domain, &set), Ok(()));
            let elsewhere = Domain { chain: Hash256::ZERO, ..domain };
            assert!(read.verify(&elsewhere, &set).is_err());
        }
    }
}

#[test]
fn a_key_outside_of_the_set_is_nobodys() {
    let (set, _, _) = network(4);
    assert!(SecpKeys::new(secret(9), Arc::clone(&set)).is_none());
    let keys = SecpKeys::new(secret(2), set).unwrap();
    assert_eq!(keys.own(), ReplicaId::new(2));
    assert_eq!(format!("{keys:?}"), "SecpKeys { own: ReplicaId(2), .. }");
}
