//! Encodings: golden bytes that `docs/protocol/pbft.md` shows, and hostile ones.

use std::sync::Arc;

use pentad_primitives::Hash256;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config;

use super::{
    Body, Certified, Checkpoint, FetchBody, Message, NewView, PrePrepare, SignedPrePrepare,
    ViewChange, Vote,
};
use crate::certificate::{CommitCertificate, PreparedCertificate};
use crate::domain::{Domain, Statement};
use crate::encoding::{BODY_LEN_MAX, DecodeError};
use crate::identifiers::{ReplicaId, Sequence, View};
use crate::keys::Signature;
use crate::record::{Record, StableCheckpoint};

const DOCUMENT: &str = include_str!("../../../../docs/protocol/pbft.md");

fn hash(byte: u8) -> Hash256 {
    Hash256::from_bytes([byte; 32])
}

fn signature(byte: u8) -> Signature {
    Signature::from_bytes([byte; 64])
}

fn id(place: u16) -> ReplicaId {
    ReplicaId::new(place)
}

fn vote() -> Vote {
    let (view, sequence) = (View::new(2), Sequence::new(9));
    Vote { view, sequence, digest: hash(0xaa), sender: id(1), signature: signature(0x51) }
}

fn signed() -> SignedPrePrepare {
    SignedPrePrepare {
        view: View::new(2),
        sequence: Sequence::new(9),
        digest: hash(0xaa),
        parent: hash(0xbb),
        sender: id(2),
        signature: signature(0x52),
    }
}

fn commit_certificate() -> CommitCertificate {
    CommitCertificate {
        view: View::new(1),
        sequence: Sequence::new(8),
        digest: hash(0xbb),
        signatures: vec![(id(0), signature(0x50)), (id(3), signature(0x53))],
    }
}

fn prepared_certificate() -> PreparedCertificate {
    PreparedCertificate { pre_prepare: signed(), prepares: vec![(id(1), signature(0x51))] }
}

fn view_change(sender: u16) -> ViewChange {
    ViewChange {
        view: View::new(3),
        last_final: Some(commit_certificate()),
        prepared: vec![prepared_certificate()],
        sender: id(sender),
        signature: signature(0x51),
    }
}

fn checkpoint() -> Checkpoint {
    Checkpoint {
        sequence: Sequence::new(64),
        digest: hash(0xaa),
        root: hash(0xcc),
        sender: id(1),
        signature: signature(0x51),
    }
}

fn messages() -> Vec<Message> {
    let body: Arc<[u8]> = vec![1, 2, 3].into();
    let empty = ViewChange { last_final: None, prepared: Vec::new(), ..view_change(0) };
    vec![
        Message::PrePrepare(PrePrepare { signed: signed(), body: body.clone() }),
        Message::Prepare(vote()),
        Message::Commit(vote()),
        Message::Checkpoint(checkpoint()),
        Message::ViewChange(view_change(1)),
        Message::NewView(NewView {
            view: View::new(3),
            view_changes: vec![empty, view_change(1)],
            proposals: vec![signed()],
            sender: id(3),
            signature: signature(0x53),
        }),
        Message::FetchBody(FetchBody {
            digest: hash(0xaa),
            sender: id(1),
            signature: signature(0x51),
        }),
        Message::Body(Body { digest: hash(0xaa), body: body.clone() }),
        Message::Certified(Certified { certificate: commit_certificate(), body }),
    ]
}

fn records() -> Vec<Record> {
    let Message::NewView(new_view) = messages().remove(5) else {
        panic!("the sixth is the NEW-VIEW");
    };
    vec![
        Record::ViewChange(view_change(1)),
        Record::NewView(new_view),
        Record::PrePrepare(PrePrepare { signed: signed(), body: vec![1, 2, 3].into() }),
        Record::Prepared(prepared_certificate()),
        Record::Checkpoint(checkpoint()),
        Record::StableCheckpoint(StableCheckpoint {
            sequence: Sequence::new(64),
            digest: hash(0xaa),
            root: hash(0xcc),
            signatures: vec![(id(0), signature(0x50)), (id(1), signature(0x51))],
        }),
    ]
}

/// As the document writes bytes: a run of four or more equal ones as `aa×32`.
fn shown(bytes: &[u8]) -> String {
    let mut text = String::new();
    for run in bytes.chunk_by(|one, other| one == other) {
        match run.len() {
            1..=3 => run.iter().for_each(|byte| text.push_str(&format!("{byte:02x}"))),
            length => text.push_str(&format!(" {:02x}×{length} ", run[0])),
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_document_has_the_golden_bytes() {
    let domain = Domain { chain: hash(0x11), validators: hash(0x22) };
    let statement = Statement::commit(View::new(2), Sequence::new(9), hash(0xaa));
    let mut lines = vec![
        ("certificate".to_owned(), shown(&commit_certificate().to_bytes())),
        ("signing hash".to_owned(), {
            hex::encode(statement.signing_hash(&domain, id(1)).as_bytes())
        }),
    ];
    lines.extend(messages().iter().map(|m| (m.name().to_owned(), shown(&m.to_bytes()))));
    let lines = lines.into_iter().map(|(name, bytes)| format!("{name}: {bytes}"));
    let is_held = |line: &String| DOCUMENT.lines().any(|held| held == line);
    let missing: Vec<_> = lines.filter(|line| !is_held(line)).collect();
    assert!(missing.is_empty(), "the document lacks\n{}", missing.join("\n"));
}

#[test]
fn what_is_encoded_is_decoded_and_nothing_shorter_or_longer_is() {
    for message in messages() {
        let bytes = message.to_bytes();
        assert_eq!(Message::from_bytes(&bytes).as_ref(), Ok(&message));
        for end in 0..bytes.len() {
            assert!(Message::from_bytes(&bytes[..end]).is_err(), "{} cut", message.name());
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert!(Message::from_bytes(&longer).is_err(), "{} with a tail", message.name());
    }
    for record in records() {
        let bytes = record.to_bytes();
        assert_eq!(Record::from_bytes(&bytes), Ok(record));
        for end in 0..bytes.len() {
            assert!(Record::from_bytes(&bytes[..end]).is_err());
        }
    }
}

#[test]
fn lengths_are_checked_before_anything_is_allocated() {
    let mut huge = messages()[7].to_bytes();
    huge[33..37].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(Message::from_bytes(&huge), Err(DecodeError::BodyTooLong(u32::MAX)));
    let above = u32::try_from(BODY_LEN_MAX).unwrap() + 1;
    huge[33..37].copy_from_slice(&above.to_le_bytes());
    assert_eq!(Message::from_bytes(&huge), Err(DecodeError::BodyTooLong(above)));
    let long = vec![0; super::MESSAGE_LEN_MAX + 1];
    assert_eq!(Message::from_bytes(&long), Err(DecodeError::TooLong(long.len())));
    let mut many = messages()[5].to_bytes();
    many[9] = 255;
    let error = DecodeError::ListTooLong { count: 255, max: 64 };
    assert_eq!(Message::from_bytes(&many), Err(error));
    assert_eq!(Message::from_bytes(&[0]), Err(DecodeError::UnknownKind(0)));
    assert_eq!(Message::from_bytes(&[10]), Err(DecodeError::UnknownKind(10)));
    let mut flagged = messages()[4].to_bytes();
    flagged[9] = 2;
    assert_eq!(Message::from_bytes(&flagged), Err(DecodeError::Flag(2)));
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::with_cases(2_000) })]

    #[test]
    fn no_bytes_bring_a_decoder_down_and_what_it_takes_has_one_encoding(
        kind in 0..11_u8,
        tail in vec(any::<u8>(), 0..400),
    ) {
        let bytes = [&[kind], tail.as_slice()].concat();
        if let Ok(message) = Message::from_bytes(&bytes) {
            prop_assert_eq!(message.to_bytes(), bytes.clone());
        }
        if let Ok(record) = Record::from_bytes(&bytes) {
            prop_assert_eq!(record.to_bytes(), bytes);
        }
        if let Ok(certificate) = CommitCertificate::from_bytes(&tail) {
            prop_assert_eq!(certificate.to_bytes(), tail);
        }
    }

    #[test]
    fn a_damaged_message_is_refused_or_has_one_encoding(
        which in 0..9_usize,
        at in any::<prop::sample::Index>(),
        byte: u8,
    ) {
        let mut bytes = messages()[which].to_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(message) = Message::from_bytes(&bytes) {
            prop_assert_eq!(message.to_bytes(), bytes);
        }
    }
}
