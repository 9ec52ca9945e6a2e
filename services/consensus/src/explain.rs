//! Why agreement does not go on, in words.

use std::time::Duration;

use pentad_pbft::{InFlight, Quorum, ReplicaId, Status};

use crate::names::Names;
use crate::snapshot::Snapshot;
use crate::subject::Subject;
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
        findings.push(match snapshot.subject {
            Subject::NextBlock => "no transaction waits: there is nothing to agree on".to_owned(),
            Subject::FinalBlock { depth } => format!(
                "{depth} blocks do not stand on the next one yet: there is nothing to make final"
            ),
        });
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
        let waiting = match snapshot.subject {
            Subject::NextBlock => "transactions wait",
            Subject::FinalBlock { .. } => "blocks of work are deep enough",
        };
        Step {
            words: format!(
                "{} {waiting}, the first for {}; primary {} of view {} has not proposed a block \
                 ({heard})",
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pentad_crypto::SecretKey;
    use pentad_pbft::{Sequence, Validator, ValidatorSet, View};
    use pentad_primitives::{Hash256, Script};

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(2);
    const OWN: ReplicaId = ReplicaId::new(1);

    fn names() -> Names {
        let validator = |number: u8| Validator {
            name: format!("node{number}"),
            key: SecretKey::from_bytes([number; 32]).expect("a key").public_key(),
            payout: Script::default(),
        };
        Names(Arc::new(ValidatorSet::new((1..=4).map(validator).collect()).expect("a set")))
    }

    fn vitals() -> Vitals {
        let vitals = Vitals::default();
        vitals.set_chain_up(true);
        vitals.set_relay_up(true);
        vitals
    }

    fn ids(numbers: &[u16]) -> Vec<ReplicaId> {
        numbers.iter().map(|number| ReplicaId::new(*number)).collect()
    }

    /// Heard of all just now; a payment has waited for five seconds.
    fn stalled() -> Snapshot {
        Snapshot {
            status: Status {
                view: View::ZERO,
                primary: ReplicaId::new(0),
                in_view_change: false,
                view_changes: Vec::new(),
                failed_views: 0,
                last_final: Sequence::new(7),
                last_digest: Hash256::ZERO,
                low_watermark: Sequence::GENESIS,
                high_watermark: Sequence::new(128),
                in_flight: Vec::new(),
                is_pending: true,
                fetching: Vec::new(),
                halted: None,
            },
            since_heard: vec![Some(Duration::ZERO); 4],
            skews: vec![Some(0); 4],
            since_progress: Some(Duration::from_secs(9)),
            since_view: Duration::from_secs(60),
            subject: Subject::NextBlock,
            pending: 3,
            longest_wait: Some(Duration::from_secs(5)),
            evidence: Vec::new(),
        }
    }

    fn in_flight(prepared_by: &[u16], committed_by: &[u16], is_prepared: bool) -> InFlight {
        InFlight {
            sequence: Sequence::new(8),
            digest: Some(Hash256::ZERO),
            stage: None,
            prepared_by: ids(prepared_by),
            committed_by: ids(committed_by),
            is_prepared,
            is_committed: false,
        }
    }

    fn explained(snapshot: &Snapshot, vitals: &Vitals) -> (Explanation, String) {
        let explanation = explain(snapshot, vitals, OWN, &names(), TIMEOUT);
        let text = explanation.findings.join("\n");
        (explanation, text)
    }

    #[test]
    fn a_primary_that_does_not_propose_is_named() {
        let (explanation, text) = explained(&stalled(), &vitals());
        assert!(!explanation.is_healthy);
        assert_eq!((explanation.votes_missing, explanation.silent), (1, ids(&[0])));
        assert!(text.contains("primary node1 of view 0 has not proposed"), "{text}");
        assert!(text.contains("block 7 became final 9.0 s ago"), "{text}");
    }

    #[test]
    fn where_work_makes_the_blocks_it_speaks_of_them() {
        let mut snapshot = Snapshot { subject: Subject::FinalBlock { depth: 6 }, ..stalled() };
        let (_, text) = explained(&snapshot, &vitals());
        assert!(text.contains("3 blocks of work are deep enough, the first for 5.0 s"), "{text}");
        (snapshot.pending, snapshot.longest_wait) = (0, None);
        let (explanation, text) = explained(&snapshot, &vitals());
        assert!(explanation.is_healthy, "{text}");
        assert!(text.contains("6 blocks do not stand on the next one yet"), "{text}");
    }

    #[test]
    fn votes_that_are_missing_are_counted_by_phase() {
        let mut snapshot = stalled();
        snapshot.status.in_flight = vec![in_flight(&[1], &[], false)];
        let (explanation, text) = explained(&snapshot, &vitals());
        assert_eq!((explanation.votes_missing, explanation.silent), (1, ids(&[2, 3])));
        assert!(text.contains("lacks 1 of 3 votes (PREPARE)"), "{text}");
        assert!(text.contains("voted: node1, node2; silent: node3, node4"), "{text}");
        snapshot.status.in_flight = vec![in_flight(&[1, 2], &[1], true)];
        let (explanation, text) = explained(&snapshot, &vitals());
        assert_eq!((explanation.votes_missing, explanation.silent), (2, ids(&[0, 2, 3])));
        assert!(text.contains("lacks 2 of 3 votes (COMMIT)"), "{text}");
    }

    #[test]
    fn a_view_change_says_who_has_not_left() {
        let mut snapshot = stalled();
        let view = View::new(1);
        snapshot.status.view = view;
        snapshot.status.primary = OWN;
        snapshot.status.in_view_change = true;
        snapshot.status.view_changes = vec![(OWN, view), (ReplicaId::new(2), View::ZERO)];
        let (explanation, text) = explained(&snapshot, &vitals());
        assert_eq!((explanation.votes_missing, explanation.silent), (2, ids(&[0, 2, 3])));
        assert!(text.contains("the change into view 1 lacks 2 of 3 votes"), "{text}");
    }

    #[test]
    fn a_lost_quorum_and_a_spare_vote_are_told_apart() {
        let mut snapshot = stalled();
        snapshot.since_heard[3] = None;
        let (_, text) = explained(&snapshot, &vitals());
        assert!(text.contains("3 of 4 validators are heard: 0 more may fall silent"), "{text}");
        assert!(text.contains("node4: not heard since the start"), "{text}");
        snapshot.since_heard[0] = Some(Duration::from_secs(30));
        let (_, text) = explained(&snapshot, &vitals());
        assert!(text.contains("no block can become final"), "{text}");
        assert!(text.contains("node1: last heard 30.0 s ago"), "{text}");
    }

    #[test]
    fn case_25_a_clock_that_is_off_is_named() {
        let mut snapshot = stalled();
        snapshot.skews[2] = Some(-180);
        let (_, text) = explained(&snapshot, &vitals());
        assert!(text.contains("the clock of node3 is 180 s behind ours"), "{text}");
    }

    #[test]
    fn services_that_are_away_and_a_halt_come_first() {
        let vitals = Vitals::default();
        vitals.halt("it forgot what it said");
        let (explanation, text) = explained(&stalled(), &vitals);
        assert!(!explanation.is_healthy);
        assert!(explanation.findings[0].contains("it forgot what it said"), "{text}");
        assert!(explanation.findings[1].contains("chain service"), "{text}");
        assert!(explanation.findings[2].contains("peer service"), "{text}");
    }

    #[test]
    fn idleness_and_a_payment_on_its_way_are_no_stall() {
        let mut snapshot = stalled();
        snapshot.longest_wait = Some(Duration::from_millis(20));
        assert!(explained(&snapshot, &vitals()).0.is_healthy);
        snapshot.pending = 0;
        snapshot.longest_wait = None;
        snapshot.since_heard = vec![None; 4];
        let (explanation, text) = explained(&snapshot, &vitals());
        assert!(explanation.is_healthy, "{text}");
        assert!(text.contains("nothing to agree on"), "{text}");
    }
}
