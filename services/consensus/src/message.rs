//! What the core holds, as messages of the API.

use std::time::Duration;

use pentad_api::consensus::v1 as proto;
use pentad_crypto::Address;
use pentad_pbft::{
    CommitCertificate, Evidence, InFlight, Message, PrePrepare, Quorum, ReplicaId,
    SignedPrePrepare, Status,
};

use crate::names::Names;
use crate::service::Network;
use crate::snapshot::Snapshot;

pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What everybody can say of the validators.
pub(crate) fn fixed(quorum: Quorum) -> proto::GetStatusResponse {
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    proto::GetStatusResponse {
        role: proto::Role::Follower.into(),
        validators: quorum.replicas().into(),
        faults_max: count(quorum.max_faulty()),
        quorum: count(quorum.quorum()),
        ..Default::default()
    }
}

/// Where a validator stands.
pub(crate) fn status(
    snapshot: &Snapshot,
    own: ReplicaId,
    names: &Names,
    halted: Option<String>,
) -> proto::GetStatusResponse {
    let status = &snapshot.status;
    let role = if halted.is_some() {
        proto::Role::Halted
    } else if status.primary == own {
        proto::Role::Primary
    } else {
        proto::Role::Backup
    };
    proto::GetStatusResponse {
        role: role.into(),
        validator: names.of(own).to_owned(),
        view: status.view.get(),
        in_view_change: status.in_view_change,
        primary: names.of(status.primary).to_owned(),
        last_final: status.last_final.get(),
        low_watermark: status.low_watermark.get(),
        high_watermark: status.high_watermark.get(),
        sequences: status.in_flight.iter().map(|it| sequence(it, status, names)).collect(),
        since_progress_ms: snapshot.since_progress.map(millis),
        halted: halted.unwrap_or_default(),
        ..fixed(names.quorum())
    }
}

fn sequence(slot: &InFlight, status: &Status, names: &Names) -> proto::SequenceStatus {
    let phase = if slot.is_committed {
        proto::Phase::Committed
    } else if slot.is_prepared {
        proto::Phase::Prepared
    } else if slot.digest.is_some() {
        proto::Phase::PrePrepared
    } else {
        proto::Phase::Waiting
    };
    let primary = slot.digest.map(|_| status.primary);
    let mut prepared: Vec<ReplicaId> = primary.into_iter().collect();
    prepared.extend(slot.prepared_by.iter().filter(|it| Some(**it) != primary));
    proto::SequenceStatus {
        sequence: slot.sequence.get(),
        phase: phase.into(),
        digest: slot.digest.map(|digest| digest.to_string()).unwrap_or_default(),
        prepared: names.all(&prepared),
        committed: names.all(&slot.committed_by),
    }
}

/// The validators, with when each was heard last where somebody knows.
pub(crate) fn validators(network: &Network, snapshot: Option<&Snapshot>) -> Vec<proto::Validator> {
    let heard = |index: usize| snapshot?.since_heard.get(index).copied().flatten().map(millis);
    let validators = network.pbft.validators.iter().enumerate();
    let validators = validators.map(|(index, validator)| proto::Validator {
        index: u32::try_from(index).unwrap_or(u32::MAX),
        name: validator.name.clone(),
        key: hex::encode(validator.key.to_bytes()),
        payout_address: Address::encode(&validator.payout, &network.versions),
        since_heard_ms: heard(index),
    });
    validators.collect()
}

/// A fault, in the encodings of the messages that show it.
pub(crate) fn evidence(evidence: &Evidence, names: &Names) -> proto::Evidence {
    let signed = |signed: &SignedPrePrepare| {
        Message::PrePrepare(PrePrepare { signed: signed.clone(), body: [].into() }).to_bytes()
    };
    let certificate = |it: &CommitCertificate| it.to_bytes();
    let (kind, view, sequence, first, second) = match evidence {
        Evidence::Equivocation { first, second } => {
            ("PRE-PREPARE", first.view.get(), first.sequence.get(), signed(first), signed(second))
        }
        Evidence::DoubleVote { phase, first, second } => {
            let (kind, of): (_, fn(_) -> _) = match phase {
                pentad_pbft::Phase::Prepare => ("PREPARE", Message::Prepare),
                pentad_pbft::Phase::Commit => ("COMMIT", Message::Commit),
            };
            let (view, sequence) = (first.view.get(), first.sequence.get());
            (kind, view, sequence, of(*first).to_bytes(), of(*second).to_bytes())
        }
        Evidence::DoubleCheckpoint { first, second } => {
            let bytes = |it: &_| Message::Checkpoint(*it).to_bytes();
            ("CHECKPOINT", 0, first.sequence.get(), bytes(first), bytes(second))
        }
        Evidence::DoubleViewChange { first, second } => {
            let bytes = |it: &pentad_pbft::ViewChange| Message::ViewChange(it.clone()).to_bytes();
            ("VIEW-CHANGE", first.view.get(), 0, bytes(first), bytes(second))
        }
        Evidence::InvalidNewView { new_view, error } => {
            let bytes = Message::NewView(new_view.as_ref().clone()).to_bytes();
            ("NEW-VIEW", new_view.view.get(), 0, bytes, error.to_string().into_bytes())
        }
        Evidence::InvalidProposal { proposal, reason } => {
            let (view, sequence) = (proposal.view.get(), proposal.sequence.get());
            ("INVALID PROPOSAL", view, sequence, signed(proposal), reason.clone().into_bytes())
        }
        Evidence::Fork { first, second } => {
            let (view, sequence) = (second.view.get(), second.sequence.get());
            let first = first.as_ref().map(certificate).unwrap_or_default();
            ("COMMIT CERTIFICATE", view, sequence, first, certificate(second))
        }
    };
    proto::Evidence {
        validator: evidence.against().map(|it| names.of(it).to_owned()).unwrap_or_default(),
        kind: kind.to_owned(),
        view,
        sequence,
        first: first.into(),
        second: second.into(),
    }
}
