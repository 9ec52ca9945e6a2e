//! The slice of the exhaustive check that every test run does (`make model` does more).

use pentad_sim::model::{Report, Scope, check, scopes};

/// Transitions of a slice at most.
const TRANSITIONS_MAX: usize = 250_000;

fn expect_kept(scope: Scope) -> Report {
    let report = check(scope, TRANSITIONS_MAX);
    println!("{report}");
    assert!(report.failures.is_empty(), "{report}");
    assert!(report.states > 5_000, "the model has hardly any states: {report}");
    report
}

/// Also of those that are small enough to be seen whole.
fn expect_kept_whole(scope: Scope) {
    let report = expect_kept(scope);
    assert!(report.is_complete && report.unseen.is_empty(), "{report}: {:?}", report.unseen);
}

#[test]
fn a_faulty_primary_of_view_0_breaks_nothing() {
    expect_kept(scopes::FAULTY_PRIMARY);
}

#[test]
fn a_faulty_primary_of_view_1_breaks_nothing() {
    expect_kept(scopes::FAULTY_NEXT_PRIMARY);
}

#[test]
fn a_faulty_backup_breaks_nothing() {
    expect_kept(scopes::FAULTY_BACKUP);
}

#[test]
fn honest_replicas_with_hasty_timers_break_nothing() {
    expect_kept(scopes::HONEST);
}

#[test]
fn a_crash_anywhere_breaks_nothing() {
    expect_kept(scopes::CRASH);
}

#[test]
fn blocks_in_flight_break_nothing() {
    expect_kept(scopes::TWO_IN_FLIGHT);
}

#[test]
fn a_crash_with_two_blocks_in_flight_breaks_nothing_when_every_vote_counts() {
    expect_kept(scopes::SILENT_AND_CRASH);
}

#[test]
fn two_crashes_break_nothing_when_every_vote_counts() {
    expect_kept_whole(scopes::SILENT_AND_CRASHES);
}

#[test]
fn leaving_two_views_breaks_nothing_when_every_vote_counts() {
    expect_kept_whole(scopes::SILENT_AND_VIEWS);
}
