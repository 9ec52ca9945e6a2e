//! Why agreement does not go on, in words.

use std::time::Duration;

use pentad_pbft::{InFlight, Quorum, ReplicaId, Status};

use crate::names::Names;
use crate::snapshot::Snapshot;
use crate::vitals::Vitals;

/// A clock further off than this is worth a word; proposals name whole seconds.
const SKEW_MAX: i64 = 2;
/// A disk that takes longer is.
const DISK_WAIT_MAX: Duration = Duration::from_secs(1);

/// The answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Explanation {
    pub(crate) is_healthy: bool,
    pub(crate) findings: Vec<String>,
    pub(crate) votes_missing: usize,
    /// Whose vote for the next step has not come.
    pub(crate) silent: Vec<ReplicaId>,
}

/// What stands in the way outside of the core.
pub(crate) fn troubles(vitals: &Vitals) -> Vec<String> {
    let mut findings = Vec::new();
    if let Some(reason) = vitals.halted() {
        findings.push(format!("this validator does not vote: {reason}"));
    }
    findings.extend(vitals.ledger_fault());
    if !vitals.chain_up() {
        findings.push("the chain service of this node does not answer".to_owned());
    }
    if let Some(wait) = vitals.disk_wait().filter(|wait| *wait > DISK_WAIT_MAX) {
        findings.push(format!("the disk of the safety log has not answered for {}", shown(wait)));
    }
    findings
}

/// Says what the replica waits for, the most likely cause first.
pub(crate) fn explain(
    snapshot: &Snapshot,
    vitals: &Vitals,
    own: ReplicaId,
    names: &Names,
    view_timeout: Duration,
) -> Explanation {
    let mut findings = troubles(vitals);
    if !vitals.relay_up() {
        findings.push("the peer service of this node does not answer".to_owned());
    }
    let is_troubled = !findings.is_empty();
    let status = &snapshot.status;
    let step = next_step(snapshot, names);
    let waited = snapshot.since_progress.unwrap_or(snapshot.since_view);
    let since = snapshot.longest_wait.map_or(waited, |wait| wait.min(waited));
    let is_idle = step.is_none() && snapshot.pending == 0;
    let is_stalled = status.in_view_change || !is_idle && since > view_timeout;
    let mut explanation = Explanation::default();
    if let Some(Step { words, missing, silent }) = step {
        findings.push(words);
        explanation.votes_missing = missing;
        explanation.silent = silent;
    } else if is_idle {
        findings.push("no transaction waits: there is nothing to agree on".to_owned());
    }
    findings.extend(margin(snapshot, own, names, view_timeout));
    findings.extend(skews(snapshot, names));
    findings.push(match snapshot.since_progress {
        Some(since) => {
            format!("block {} became final {} ago", status.last_final, shown(since))
        }
        None => format!("no block became final since the start; the last is {}", status.last_final),
    });
    explanation.is_healthy = !is_troubled && !is_stalled;
    explanation.findings = findings;
    explanation
}

/// What the replica waits for.
struct Step {
    words: String,
    missing: usize,
    silent: Vec<ReplicaId>,
}

fn next_step(snapshot: &Snapshot, names: &Names) -> Option<Step> {
    let status = &snapshot.status;
    if status.in_view_change {
        return Some(view_change(status, names));
    }
    if let Some(first) = status.in_flight.first() {
        return Some(in_flight(status, first, names));
    }
    (snapshot.pending > 0).then(|| {
        let primary = status.primary;
        let heard = heard(snapshot, primary);
        Step {
            words: format!(
                "{} transactions wait, the first for {}; primary {} of view {} has not proposed \
                 a block ({heard})",
                snapshot.pending,
                shown(snapshot.longest_wait.unwrap_or_default()),
                names.of(primary),
                status.view,
            ),
            missing: 1,
            silent: vec![primary],
        }
    })
}

fn view_change(status: &Status, names: &Names) -> Step {
    let quorum = names.quorum();
    let wanting = status.view_changes.iter().filter(|(_, view)| *view >= status.view);
    let wanting: Vec<ReplicaId> = wanting.map(|(replica, _)| *replica).collect();
    let missing = quorum.quorum().saturating_sub(wanting.len());
    let silent = absent(quorum, &wanting);
    let words = if missing > 0 {
        format!(
            "the change into view {} lacks {missing} of {} votes; silent: {}",
            status.view,
            quorum.quorum(),
            names.list(&silent)
        )
    } else {
        format!(
            "a quorum has left for view {}, whose primary {} has not started it",
            status.view,
            names.of(status.primary)
        )
    };
    let silent = if missing > 0 { silent } else { vec![status.primary] };
    Step { words, missing: missing.max(1), silent }
}

fn in_flight(status: &Status, slot: &InFlight, names: &Names) -> Step {
    let quorum = names.quorum();
    let sequence = slot.sequence;
    if slot.is_committed {
        let words = if status.fetching.is_empty() {
            format!("sequence {sequence} is committed; the chain service is connecting its block")
        } else {
            format!("sequence {sequence} is committed; its block has been asked for")
        };
        return Step { words, missing: 0, silent: Vec::new() };
    }
    let Some(digest) = slot.digest else {
        let words = format!(
            "sequence {sequence} has votes and no proposal from primary {} of view {}",
            names.of(status.primary),
            status.view
        );
        return Step { words, missing: 1, silent: vec![status.primary] };
    };
    let (phase, have) = if slot.is_prepared {
        ("COMMIT", slot.committed_by.clone())
    } else {
        // The PRE-PREPARE is the primary's vote.
        let primary = std::iter::once(status.primary);
        ("PREPARE", primary.chain(slot.prepared_by.iter().copied()).collect())
    };
    let silent = absent(quorum, &have);
    let missing = quorum.quorum().saturating_sub(have.len());
    let words = format!(
        "sequence {sequence} in view {} ({digest:.16}) lacks {missing} of {} votes ({phase}); \
         voted: {}; silent: {}",
        status.view,
        quorum.quorum(),
        names.list(&have),
        names.list(&silent)
    );
    Step { words, missing, silent }
}

fn absent(quorum: Quorum, present: &[ReplicaId]) -> Vec<ReplicaId> {
    quorum.ids().filter(|replica| !present.contains(replica)).collect()
}

/// How many more validators may fall silent.
fn margin(
    snapshot: &Snapshot,
    own: ReplicaId,
    names: &Names,
    view_timeout: Duration,
) -> Vec<String> {
    let quorum = names.quorum();
    // Who has nothing to say is not silent: an idle network is.
    let is_idle = snapshot.pending == 0 && snapshot.status.in_flight.is_empty();
    if is_idle && !snapshot.status.in_view_change {
        return Vec::new();
    }
    let is_heard = |replica: ReplicaId| {
        let since = snapshot.since_heard.get(usize::from(replica.get())).copied().flatten();
        replica == own || since.is_some_and(|since| since < view_timeout * 2)
    };
    let unheard: Vec<ReplicaId> = quorum.ids().filter(|replica| !is_heard(*replica)).collect();
    if unheard.is_empty() {
        return Vec::new();
    }
    let alive = usize::from(quorum.replicas()).saturating_sub(unheard.len());
    let verdict = match alive.checked_sub(quorum.quorum()) {
        None => format!(
            "{alive} of {} validators are heard, and {} must vote: no block can become final",
            quorum.replicas(),
            quorum.quorum()
        ),
        Some(spare) => format!(
            "{alive} of {} validators are heard: {spare} more may fall silent",
            quorum.replicas()
        ),
    };
    let silent = unheard
        .into_iter()
        .map(|replica| format!("{}: {}", names.of(replica), heard(snapshot, replica)));
    std::iter::once(verdict).chain(silent).collect()
}

fn heard(snapshot: &Snapshot, replica: ReplicaId) -> String {
    match snapshot.since_heard.get(usize::from(replica.get())).copied().flatten() {
        Some(since) => format!("last heard {} ago", shown(since)),
        None => "not heard since the start".to_owned(),
    }
}

fn skews<'a>(snapshot: &'a Snapshot, names: &'a Names) -> impl Iterator<Item = String> + use<'a> {
    let skews = names.quorum().ids().zip(&snapshot.skews);
    skews.filter_map(|(replica, skew)| {
        let skew = skew.filter(|skew| skew.abs() > SKEW_MAX)?;
        let side = if skew > 0 { "ahead of" } else { "behind" };
        Some(format!("the clock of {} is {} s {side} ours", names.of(replica), skew.abs()))
    })
}

fn shown(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
