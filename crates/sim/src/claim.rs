//! What a message claims under its sender's signature, as the checker and readers see it.

use pentad_pbft::{Message, ReplicaId};
use pentad_primitives::{Hash256, sha256d};

/// Kinds of which an honest replica signs one per view and sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    PrePrepare,
    Prepare,
    Commit,
    Checkpoint,
    ViewChange,
    NewView,
}

/// One signed thing: of the same kind, view and sequence, an honest replica signs no other digest
/// in its whole life, restarts included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    pub sender: ReplicaId,
    pub kind: Kind,
    pub view: u64,
    /// 0 for VIEW-CHANGE and NEW-VIEW: there is one of each per view.
    pub sequence: u64,
    pub digest: Hash256,
}

/// All claims of a message; the proposals of a NEW-VIEW are claims of their own.
#[must_use]
pub fn of(message: &Message) -> Vec<Claim> {
    let whole = |sender, kind, view| {
        let digest = sha256d(&message.to_bytes());
        Claim { sender, kind, view, sequence: 0, digest }
    };
    let pre_prepare = |signed: &pentad_pbft::SignedPrePrepare| Claim {
        sender: signed.sender,
        kind: Kind::PrePrepare,
        view: signed.view.get(),
        sequence: signed.sequence.get(),
        digest: signed.digest,
    };
    match message {
        Message::PrePrepare(message) => vec![pre_prepare(&message.signed)],
        Message::Prepare(vote) | Message::Commit(vote) => vec![Claim {
            sender: vote.sender,
            kind: match message {
                Message::Prepare(_) => Kind::Prepare,
                _ => Kind::Commit,
            },
            view: vote.view.get(),
            sequence: vote.sequence.get(),
            digest: vote.digest,
        }],
        Message::Checkpoint(checkpoint) => vec![Claim {
            sender: checkpoint.sender,
            kind: Kind::Checkpoint,
            view: 0,
            sequence: checkpoint.sequence.get(),
            digest: sha256d(&[*checkpoint.digest.as_bytes(), *checkpoint.root.as_bytes()].concat()),
        }],
        Message::ViewChange(message) => {
            vec![whole(message.sender, Kind::ViewChange, message.view.get())]
        }
        Message::NewView(message) => {
            let mut claims = vec![whole(message.sender, Kind::NewView, message.view.get())];
            claims.extend(message.proposals.iter().map(pre_prepare));
            claims
        }
        Message::FetchBody(_) | Message::Body(_) | Message::Certified(_) => Vec::new(),
    }
}

/// One line for a trace.
#[must_use]
pub fn describe(message: &Message) -> String {
    match message {
        Message::PrePrepare(message) => {
            let signed = &message.signed;
            format!(
                "pre-prepare v{} n{} {} on {}",
                signed.view,
                signed.sequence,
                short(signed.digest),
                short(signed.parent)
            )
        }
        Message::Prepare(vote) | Message::Commit(vote) => format!(
            "{} v{} n{} {} by {}",
            message.name(),
            vote.view,
            vote.sequence,
            short(vote.digest),
            vote.sender
        ),
        Message::Checkpoint(checkpoint) => {
            format!("checkpoint n{} root {}", checkpoint.sequence, short(checkpoint.root))
        }
        Message::ViewChange(message) => format!(
            "view-change v{} by {}, final {}, prepared {:?}",
            message.view,
            message.sender,
            message.last_final_sequence(),
            message
                .prepared
                .iter()
                .map(|p| format!("v{} n{} {}", p.view(), p.sequence(), short(p.pre_prepare.digest)))
                .collect::<Vec<_>>()
        ),
        Message::NewView(message) => format!(
            "new-view v{} of {:?}, O {:?}",
            message.view,
            message.view_changes.iter().map(|vote| vote.sender.get()).collect::<Vec<_>>(),
            message
                .proposals
                .iter()
                .map(|p| format!("n{} {}", p.sequence, short(p.digest)))
                .collect::<Vec<_>>()
        ),
        Message::FetchBody(message) => format!("fetch-body {}", short(message.digest)),
        Message::Body(message) => format!("body {}", short(message.digest)),
        Message::Certified(message) => format!(
            "certified v{} n{} {}",
            message.certificate.view,
            message.certificate.sequence,
            short(message.certificate.digest)
        ),
    }
}

/// The first eight digits of a displayed hash.
#[must_use]
pub fn short(hash: Hash256) -> String {
    hash.to_string().chars().take(8).collect()
}
