//! A safety log that dies, or whose disk fails, at each of its writes.

use std::fs;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::fail_point::{Armed, ENVIRONMENT, Fault, Point, arm};
use crate::safety_log::{GuardMark, SafetyLog, SafetyLogError, SignGuard, SignPosition};

/// The directory of a process that works until it is killed; absent in any other test run.
const DIRECTORY: &str = "PENTAD_TEST_SAFETY_DIRECTORY";
const OWNER: [u8; 32] = [7; 32];
/// Votes of a victim that nobody kills.
const VOTES: u64 = 9;
/// Votes between two compactions.
const INTERVAL: u64 = 4;
/// SIGKILL.
const KILL: i32 = 9;

fn record(number: u64) -> Vec<u8> {
    number.to_le_bytes().to_vec()
}

fn numbers(records: &[Vec<u8>]) -> Vec<u64> {
    let number = |record: &Vec<u8>| u64::from_le_bytes(record[..].try_into().expect("a number"));
    records.iter().map(number).collect()
}

/// Writes votes down and says each once it may leave, as the driver of a replica does.
fn vote(directory: &Path, say: impl Fn(u64)) -> Result<(), Box<dyn std::error::Error>> {
    let (mut log, found) = SafetyLog::open(&directory.join("log"), OWNER)?;
    let path = directory.join("guard");
    let mark = |log: &SafetyLog| GuardMark {
        log: log.id(),
        batch: log.last(),
        position: SignPosition::default(),
    };
    let mut guard = match SignGuard::open(&path)? {
        Some(guard) => guard,
        None => SignGuard::create(&path, mark(&log))?,
    };
    guard.admit(log.id(), log.last())?;
    let first = numbers(&found.records).last().map_or(1, |last| last + 1);
    for number in first..=VOTES {
        log.append(&[record(number)])?;
        guard.advance(mark(&log))?;
        say(number);
        if number % INTERVAL == 0 {
            log.compact(&[record(number)])?;
            guard.sync()?;
        }
    }
    Ok(())
}

#[test]
fn process() {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        let say = |number| {
            println!("\nsaid {number}");
            std::io::stdout().flush().expect("a pipe");
        };
        vote(directory.as_ref(), say).expect("only a kill ends it");
    }
}

/// Runs a victim in `directory`; the votes that it said, and whether it was killed.
fn run(directory: &Path, fault: Option<Armed>) -> (Vec<u64>, bool) {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command
        .args(["tests::safety_faults::process", "--exact", "--nocapture"])
        .env(DIRECTORY, directory)
        .stderr(Stdio::null());
    if let Some(fault) = fault {
        command.env(ENVIRONMENT, fault.to_variable());
    }
    let output = command.output().expect("a process");
    let text = String::from_utf8(output.stdout).expect("text");
    let said = text.lines().filter_map(|line| line.strip_prefix("said "));
    let said = said.map(|number| number.parse().expect("a number")).collect();
    (said, output.status.signal() == Some(KILL))
}

fn assert_recovers(directory: &Path, said: &[u64], name: &str) {
    let last_said = said.last().copied().unwrap_or(0);
    let (log, found) = SafetyLog::open(&directory.join("log"), OWNER)
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let numbers = numbers(&found.records);
    let first = numbers.first().copied().unwrap_or(1);
    let last = numbers.last().copied().unwrap_or(0);
    assert_eq!(numbers, (first..=last).collect::<Vec<_>>(), "{name}");
    assert!((last_said..=last_said + 1).contains(&last), "{name}: {last} after {last_said}");
    assert!(first <= last_said / INTERVAL * INTERVAL + INTERVAL, "{name}");
    drop(log);
    // It is admitted by its guard and goes on to the end.
    vote(directory, |_| {}).unwrap_or_else(|error| panic!("{name}: {error}"));
}

#[test]
fn case_28_killed_at_every_write_forgets_nothing_that_it_said() {
    use Fault::{KillAfter, KillBefore, KillTorn};
    let whole = [KillBefore, KillAfter].as_slice();
    let torn = [KillBefore, KillTorn, KillAfter].as_slice();
    let plans = [
        (Point::SafetyAppend, torn, [1, 5].as_slice()),
        (Point::SafetySync, whole, &[1, 5]),
        (Point::SafetyCompactWrite, torn, &[1, 2, 3]),
        (Point::SafetyCompactSync, whole, &[1, 2, 3]),
        (Point::SafetyCompactRename, whole, &[1, 2, 3]),
        (Point::SafetyDirectorySync, whole, &[1, 2, 3]),
        (Point::GuardWrite, torn, &[1, 2, 6]),
        (Point::GuardSync, whole, &[1, 2]),
    ];
    for (point, faults, times) in plans {
        for fault in faults {
            for nth in times {
                let armed = Armed { point, fault: *fault, nth: *nth };
                let name = armed.to_variable();
                let directory = TempDir::new().expect("a temporary directory");
                let (said, was_killed) = run(directory.path(), Some(armed));
                assert!(was_killed, "{name}: {said:?}");
                assert_recovers(directory.path(), &said, &name);
            }
        }
    }
}

#[test]
fn case_28_killed_while_a_torn_tail_is_cut() {
    for fault in [Fault::KillBefore, Fault::KillAfter] {
        let directory = TempDir::new().expect("a temporary directory");
        let torn = Armed { point: Point::SafetyAppend, fault: Fault::KillTorn, nth: 3 };
        let (said, was_killed) = run(directory.path(), Some(torn));
        assert!(was_killed && said == [1, 2], "{said:?}");
        let settle = Armed { point: Point::SafetySettle, fault, nth: 1 };
        let (none, was_killed) = run(directory.path(), Some(settle));
        assert!(was_killed && none.is_empty(), "{none:?}");
        assert_recovers(directory.path(), &said, "safety-settle");
    }
}

#[test]
fn case_30_full_disk_or_failed_fsync_ends_the_votes_and_a_restart_goes_on() {
    use Fault::{Fail, Full, Short};
    for (point, fault) in [
        (Point::SafetyAppend, Full),
        (Point::SafetyAppend, Short),
        (Point::SafetySync, Fail),
        (Point::SafetyCompactWrite, Short),
        (Point::SafetyCompactSync, Fail),
        (Point::SafetyCompactRename, Fail),
        (Point::SafetyDirectorySync, Fail),
        (Point::GuardWrite, Full),
        (Point::GuardSync, Fail),
    ] {
        let directory = TempDir::new().expect("a temporary directory");
        // Opened before, so that the fault does not meet the beginning of log or guard.
        drop(SafetyLog::open(&directory.path().join("log"), OWNER).expect("begun"));
        let log = SafetyLog::open(&directory.path().join("log"), OWNER).expect("there").0;
        let mark = GuardMark { log: log.id(), batch: 0, position: SignPosition::default() };
        drop(SignGuard::create(&directory.path().join("guard"), mark).expect("begun"));
        drop(log);
        arm(Armed { point, fault, nth: 1 });
        let said = std::cell::RefCell::new(Vec::new());
        let failed = vote(directory.path(), |number| said.borrow_mut().push(number));
        let error = failed.expect_err("the fault was met").to_string();
        let name = format!("{} {fault:?}: {error}", point.name());
        assert!(error.contains(directory.path().to_str().expect("a name")), "{name}");
        assert_recovers(directory.path(), &said.into_inner(), &name);
    }
}

#[test]
fn a_log_whose_fsync_failed_takes_nothing_more() {
    let directory = TempDir::new().expect("a temporary directory");
    let (mut log, _) = SafetyLog::open(&directory.path().join("log"), OWNER).expect("begun");
    arm(Armed { point: Point::SafetySync, fault: Fault::Fail, nth: 1 });
    log.append(&[record(1)]).expect_err("the fault");
    let before = fs::metadata(directory.path().join("log")).expect("there").len();
    let error = log.append(&[record(2)]).expect_err("poisoned");
    assert!(matches!(error, SafetyLogError::Poisoned), "{error}");
    let error = log.compact(&[record(2)]).expect_err("poisoned");
    assert!(matches!(error, SafetyLogError::Poisoned), "{error}");
    assert_eq!(fs::metadata(directory.path().join("log")).expect("there").len(), before);
}
