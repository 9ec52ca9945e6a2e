//! The crash matrix: the process dies at each durable write, before, within and behind it.

use std::fs;
use std::path::Path;

use pentad_store::DiskEngine;
use pentad_store::fail_point::{Armed, Fault, Point};

use super::kills::{Random, seed};
use super::script::Script;
use super::victim::{Said, Victim, choose};
use super::{SEGMENT_HEADER_LEN, copy, log_files, record_ends};
use crate::tests::fixture::directory;

/// The kind of a record that is a certificate.
const CERTIFICATE: u8 = 4;

use Fault::{Fail, Full, KillAfter, KillBefore, KillTorn, Short};

/// How a directory is prepared and what the victim does in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scene {
    /// The script, in an empty directory.
    Script,
    /// The script again, where it has been: the index is found damaged while it works.
    Damage,
    /// The same, under the oldest format: the directory is migrated. Nothing that is there differs.
    Migration,
    /// The same, and the last run asked for a rebuild.
    Rebuild,
    /// The same, and the last run left half a record.
    TornTail,
    /// The same, and the last run left half a segment header.
    TornSegment,
}

/// Where, how and which time; `None` for what is no write.
fn plan(point: Point) -> Option<(Scene, &'static [Fault], &'static [u32])> {
    const ATOMIC: &[Fault] = &[KillBefore, KillAfter];
    const WRITE: &[Fault] = &[KillBefore, KillTorn, KillAfter];
    const PASS: &[Fault] = &[KillBefore];
    Some(match point {
        Point::LockWrite => (Scene::Script, ATOMIC, &[1]),
        Point::FormatWrite => (Scene::Script, WRITE, &[1]),
        Point::FormatSync | Point::FormatRename | Point::FormatDirectorySync => {
            (Scene::Script, ATOMIC, &[1])
        }
        Point::ReindexMark => (Scene::Damage, WRITE, &[1]),
        Point::ReindexClear | Point::IndexRemove => (Scene::Rebuild, ATOMIC, &[1]),
        Point::SegmentCreate | Point::SegmentSync | Point::SegmentDirectorySync => {
            (Scene::Script, ATOMIC, &[1, 2, 4])
        }
        Point::SegmentHeader => (Scene::Script, WRITE, &[1, 2, 4]),
        Point::SegmentRemove => (Scene::TornSegment, ATOMIC, &[1]),
        Point::TailTruncate => (Scene::TornTail, ATOMIC, &[1]),
        Point::TailSync => (Scene::TornTail, ATOMIC, &[1]),
        Point::RecordAppend => (Scene::Script, WRITE, &[1, 2, 3, 30, 31]),
        Point::GroupSync => (Scene::Script, ATOMIC, &[1, 2, 20]),
        Point::TipPublish | Point::TipAnswer => (Scene::Script, PASS, &[1, 2, 20]),
        Point::DescentNote | Point::DescentWritten | Point::DescentState | Point::DescentDone => {
            (Scene::Script, PASS, &[1, 2])
        }
        Point::DescentBatch => (Scene::Script, PASS, &[1, 2]),
        Point::EngineWrite => (Scene::Script, ATOMIC, &[1, 2, 5]),
        Point::EngineFlush | Point::EngineMerge => (Scene::Script, ATOMIC, &[1, 2]),
        Point::EngineName => (Scene::Script, WRITE, &[1]),
        Point::MempoolWrite => (Scene::Script, WRITE, &[1]),
        Point::MempoolRename => (Scene::Script, ATOMIC, &[1]),
        Point::LogRead | Point::EngineRead => return None,
        // Not of the chain: crates/store kills a replica's log there.
        Point::SafetySettle
        | Point::SafetyAppend
        | Point::SafetySync
        | Point::SafetyCompactWrite
        | Point::SafetyCompactSync
        | Point::SafetyCompactRename
        | Point::SafetyDirectorySync
        | Point::GuardWrite
        | Point::GuardSync => return None,
    })
}

/// Every plan, and once more for what a migration writes too.
fn plans() -> impl Iterator<Item = (Point, Scene, &'static [Fault], &'static [u32])> {
    let planned = Point::ALL.iter().filter_map(|point| Some((*point, plan(*point)?)));
    planned.flat_map(|(point, (scene, faults, times))| {
        let is_format = point.name().starts_with("format-");
        let again = is_format.then_some((point, Scene::Migration, faults, times));
        [(point, scene, faults, times)].into_iter().chain(again)
    })
}

struct Stage {
    engine: DiskEngine,
    script: Script,
    items: std::path::PathBuf,
    /// A directory in which the script has been handed in and closed.
    finished: tempfile::TempDir,
    _folder: tempfile::TempDir,
}

impl Stage {
    async fn new() -> Self {
        Self::with(DiskEngine::default()).await
    }

    async fn with(engine: DiskEngine) -> Self {
        let script = Script::new().await;
        let folder = directory();
        let items = folder.path().join("items");
        script.write(&items);
        let finished = directory();
        choose(finished.path(), engine);
        let mut victim = Victim::of_script(finished.path(), &items, None);
        let said: Vec<_> = std::iter::from_fn(|| victim.hear()).collect();
        assert_eq!(said.last(), Some(&Said::Done), "{said:?}");
        Self { engine, script, items, finished, _folder: folder }
    }

    /// Prepares a directory, and starts what is going to die there.
    fn play(&self, scene: Scene, directory: &Path, fault: &str) -> Victim {
        if scene != Scene::Script {
            copy(self.finished.path(), directory);
        }
        let last = || log_files(directory).pop().expect("a log");
        match scene {
            Scene::Script if self.engine == DiskEngine::default() => {}
            Scene::Script => choose(directory, self.engine),
            Scene::Damage => return Victim::of_damage(directory, fault),
            Scene::Migration => {
                let file = directory.join("FORMAT");
                let text = fs::read_to_string(&file).expect("readable");
                let (_, spec) = text.split_once('\n').expect("two lines");
                fs::write(file, format!("format = 1\n{spec}")).expect("writable");
            }
            Scene::Rebuild => fs::write(directory.join("REINDEX"), "").expect("writable"),
            Scene::TornTail => {
                let mut bytes = fs::read(last()).expect("readable");
                bytes.extend_from_slice(b"PNTR\x01\xff");
                fs::write(last(), bytes).expect("writable");
            }
            Scene::TornSegment => {
                let next = format!("{:06}.blocks", log_files(directory).len());
                fs::write(directory.join("blocks").join(next), b"PENTA").expect("writable");
            }
        }
        Victim::of_script(directory, &self.items, Some(fault))
    }

    /// Which records of the finished log are certificates, counted from 1.
    fn certificate_records(&self) -> Vec<u32> {
        let kinds = log_files(self.finished.path()).into_iter().flat_map(|file| {
            let bytes = fs::read(file).expect("readable");
            let starts = [SEGMENT_HEADER_LEN].into_iter().chain(record_ends(&bytes));
            let kinds = starts.filter(|start| *start < bytes.len()).map(|start| bytes[start + 4]);
            kinds.collect::<Vec<_>>()
        });
        (1..).zip(kinds).filter(|(_, kind)| *kind == CERTIFICATE).map(|(nth, _)| nth).collect()
    }

    /// One row: dies there, comes back, loses nothing and goes on. Gives the number of items that
    /// had been acknowledged.
    async fn row(&self, scene: Scene, armed: Armed) -> usize {
        let directory = directory();
        let mut victim = self.play(scene, directory.path(), &armed.to_variable());
        let said: Vec<_> = std::iter::from_fn(|| victim.hear()).collect();
        assert!(victim.was_killed(), "{}: not reached: {said:?}", armed.to_variable());
        let acknowledged = match scene {
            Scene::Script => said.iter().filter(|said| matches!(said, Said::Item(_))).count(),
            _ => self.script.items.len(),
        };
        let name = armed.to_variable();
        let height = self.script.assert_recovers(directory.path(), acknowledged, &name).await;
        println!("{name:<36} {scene:<12?} {acknowledged:>5} {height:>6}   sound");
        acknowledged
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn case_28_killed_at_every_durable_write() {
    let stage = Stage::new().await;
    println!("{:<36} {:<12} {:>5} {:>6}", "killed at", "scene", "acked", "height");
    for (point, scene, faults, times) in plans() {
        for fault in faults {
            for nth in times {
                stage.row(scene, Armed { point, fault: *fault, nth: *nth }).await;
            }
        }
    }
}

/// A certificate that makes a block final, with a reorganisation and without.
#[tokio::test(flavor = "multi_thread")]
async fn case_28_killed_at_every_write_of_a_certificate() {
    let stage = Stage::new().await;
    let records = stage.certificate_records();
    let finals = stage.script.certified();
    assert_eq!((records.len(), finals.len()), (3, 3));
    for (item, record) in finals.into_iter().zip(records) {
        for fault in [KillBefore, KillTorn, KillAfter] {
            let armed = Armed { point: Point::RecordAppend, fault, nth: record };
            assert_eq!(stage.row(Scene::Script, armed).await, item);
        }
        // What follows: blocks on it in the same group, or the next item.
        let armed = Armed { point: Point::RecordAppend, fault: KillBefore, nth: record + 1 };
        assert!(stage.row(Scene::Script, armed).await >= item);
        for (point, fault) in [
            (Point::GroupSync, KillBefore),
            (Point::GroupSync, KillAfter),
            (Point::TipPublish, KillBefore),
            (Point::TipAnswer, KillBefore),
        ] {
            // A long reorganisation is a group or two more.
            let groups = stage.script.groups(item);
            let mut reached = false;
            for nth in (groups..groups + 6).filter(|nth| *nth > 0) {
                let acknowledged = stage.row(Scene::Script, Armed { point, fault, nth }).await;
                reached |= acknowledged == item;
                if acknowledged >= item {
                    break;
                }
            }
            assert!(reached, "{} of item {item}", point.name());
        }
    }
}

/// The points at which sled does something else than the default engine.
#[tokio::test(flavor = "multi_thread")]
async fn case_28_killed_at_every_write_of_an_index_in_sled() {
    let stage = Stage::with(DiskEngine::Sled).await;
    let is_of_index = |point: Point| {
        let name = point.name();
        name.starts_with("descent-") || matches!(point, Point::EngineWrite | Point::EngineFlush)
    };
    for (point, scene, faults, times) in plans().filter(|plan| is_of_index(plan.0)) {
        for (fault, nth) in
            faults.iter().flat_map(|fault| times.iter().map(move |nth| (fault, nth)))
        {
            stage.row(scene, Armed { point, fault: *fault, nth: *nth }).await;
        }
    }
}

/// What a power cut leaves of bytes that no sync had reached: a part of them, holes in them.
fn lose(bytes: &mut Vec<u8>, synced: usize, random: &mut Random) {
    let unsynced = bytes.len() - synced;
    let place = |random: &mut Random| {
        let at = random.below(unsynced as u64 + 1);
        synced + usize::try_from(at).expect("within the file")
    };
    if random.below(2) == 0 {
        bytes.truncate(place(random));
    } else {
        for _ in 0..=random.below(3) {
            let (from, to) = (place(random), place(random));
            bytes[from.min(to)..from.max(to)].fill(0);
        }
    }
}

/// Offset in a segment up to which its last record knows of a sync.
fn synced(bytes: &[u8]) -> usize {
    let ends = record_ends(bytes);
    let last = ends.len().checked_sub(2).map_or(SEGMENT_HEADER_LEN, |before| ends[before]);
    let known = bytes[last + 9..last + 13].try_into().expect("four bytes");
    usize::try_from(u32::from_le_bytes(known)).expect("within the file")
}

#[tokio::test(flavor = "multi_thread")]
async fn case_29_group_torn_by_a_power_cut_goes_and_nothing_before_it() {
    let stage = Stage::new().await;
    let seed = seed();
    println!("PENTAD_TEST_SEED={seed}");
    let mut random = Random::new(seed);
    for round in 0..24 {
        let directory = directory();
        let nth = u32::try_from(2 + random.below(26)).expect("small");
        let armed = Armed { point: Point::GroupSync, fault: KillBefore, nth };
        let mut victim = stage.play(Scene::Script, directory.path(), &armed.to_variable());
        let said: Vec<_> = std::iter::from_fn(|| victim.hear()).collect();
        assert!(victim.was_killed(), "{said:?}");
        let acknowledged = said.iter().filter(|said| matches!(said, Said::Item(_))).count();
        let file = log_files(directory.path()).pop().expect("a log");
        let mut bytes = fs::read(&file).expect("readable");
        let synced = synced(&bytes);
        lose(&mut bytes, synced, &mut random);
        fs::write(&file, bytes).expect("writable");
        let name = format!("round {round}, sync {nth}");
        stage.script.assert_recovers(directory.path(), acknowledged, &name).await;
    }
}

/// What a victim that met a fault said last, and how many items had been acknowledged.
fn outcome(said: &[Said]) -> (usize, &Said) {
    let acknowledged = said.iter().filter(|said| matches!(said, Said::Item(_))).count();
    (acknowledged, said.last().expect("it says how it ends"))
}

#[tokio::test(flavor = "multi_thread")]
async fn case_30_full_disk_at_every_write_is_a_clean_stop_and_it_restarts_once_there_is_room() {
    let stage = Stage::new().await;
    // The mempool's file is a convenience; a rebuild of the index is tried twice.
    let survivable = [
        Point::MempoolWrite,
        Point::MempoolRename,
        Point::ReindexClear,
        Point::IndexRemove,
        Point::EngineName,
    ];
    println!("{:<36} {:<12} {:>5}", "disk full at", "scene", "acked");
    for (point, scene, faults, times) in plans() {
        let faults: &[Fault] = match faults.len() {
            1 => &[],
            2 => &[Full],
            _ => &[Full, Short],
        };
        for (fault, nth) in
            faults.iter().flat_map(|fault| times.iter().map(move |nth| (fault, nth)))
        {
            let directory = directory();
            let armed = Armed { point, fault: *fault, nth: *nth };
            let name = armed.to_variable();
            let mut victim = stage.play(scene, directory.path(), &name);
            let said: Vec<_> = std::iter::from_fn(|| victim.hear()).collect();
            assert!(!victim.was_killed(), "{name}: {said:?}");
            let (acknowledged, last) = outcome(&said);
            match last {
                Said::Failed(reason) => {
                    let names = reason.contains("No space left") || scene == Scene::Damage;
                    assert!(names, "{name}: {reason}");
                }
                Said::Done => assert!(survivable.contains(&point), "{name}: nobody noticed"),
                other => panic!("{name}: {other:?}"),
            }
            println!("{name:<36} {scene:<12?} {acknowledged:>5}   {last:?}");
            let acknowledged = match scene {
                Scene::Script => acknowledged,
                _ => stage.script.items.len(),
            };
            stage.script.assert_recovers(directory.path(), acknowledged, &name).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn case_30_failed_fsync_ends_the_node_and_what_it_covered_is_never_acknowledged() {
    let stage = Stage::new().await;
    let mut random = Random::new(seed());
    for nth in [1, 2, 3, 10, 25] {
        let directory = directory();
        let armed = Armed { point: Point::GroupSync, fault: Fail, nth };
        let name = armed.to_variable();
        let mut victim = stage.play(Scene::Script, directory.path(), &name);
        let said: Vec<_> = std::iter::from_fn(|| victim.hear()).collect();
        let (acknowledged, last) = outcome(&said);
        let Said::Failed(reason) = last else { panic!("{name}: {last:?}") };
        assert!(reason.contains("fsync") && reason.contains(".blocks"), "{name}: {reason}");
        assert!(acknowledged < stage.script.items.len(), "{name}");
        // After a failed fsync the pages may be gone, whatever a later fsync says.
        if nth > 1 {
            let file = log_files(directory.path()).pop().expect("a log");
            let mut bytes = fs::read(&file).expect("readable");
            let synced = synced(&bytes);
            lose(&mut bytes, synced, &mut random);
            fs::write(&file, bytes).expect("writable");
        }
        stage.script.assert_recovers(directory.path(), acknowledged, &name).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn case_30_read_error_costs_nothing_that_was_acknowledged() {
    let stage = Stage::new().await;
    let mut told = 0;
    for point in [Point::LogRead, Point::EngineRead] {
        for nth in [1, 2, 7, 30] {
            for scene in [Scene::Script, Scene::Rebuild] {
                let directory = directory();
                let armed = Armed { point, fault: Fail, nth };
                let name = armed.to_variable();
                let mut victim = stage.play(scene, directory.path(), &name);
                let said: Vec<_> = std::iter::from_fn(|| victim.hear()).collect();
                let (acknowledged, last) = outcome(&said);
                // An index that cannot be read at the start is rebuilt; later the node ends.
                match last {
                    Said::Done => {}
                    Said::Failed(reason) => told += usize::from(reason.contains("(os error 5)")),
                    other => panic!("{name}: {other:?}"),
                }
                let acknowledged = match scene {
                    Scene::Script => acknowledged,
                    _ => stage.script.items.len(),
                };
                stage.script.assert_recovers(directory.path(), acknowledged, &name).await;
            }
        }
    }
    assert!(told > 0, "no read error reached the node");
}
