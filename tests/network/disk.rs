//! Disks that are full or lost, processes that stand still.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use pentad_tests::{Devnet, signal};
use tempfile::TempDir;

/// Set in the process that has a small file system of its own: where it is mounted. Not a
/// variable that a node would take for its configuration.
const SMALL: &str = "TEST_SMALL_DISK";
/// Mounts a small file system and runs the rest of the line.
const MOUNTED: &str = "mount -t tmpfs -o size=64m tmpfs \"$1\" && shift && exec \"$@\"";
/// What is left free for the node to fill.
const ROOM: u64 = 300_000;

/// Runs the named test of this program with a small file system of its own, if the machine allows.
fn on_a_small_disk(test: &str) {
    let mount = TempDir::new().expect("a temporary folder");
    let allowed = Command::new("unshare").args(["-rm", "true"]).status();
    if !allowed.is_ok_and(|status| status.success()) {
        println!("skipped: this machine allows no file system in a namespace of one's own");
        return;
    }
    let status = Command::new("unshare")
        .args(["-rm", "sh", "-c", MOUNTED, "sh"])
        .arg(mount.path())
        .arg(std::env::current_exe().expect("this program"))
        .args([test, "--exact", "--nocapture"])
        .env(SMALL, mount.path())
        .env("TMPDIR", mount.path())
        .status();
    assert!(status.expect("unshare runs").success());
}

/// Fills a file system but for so many bytes.
fn fill(path: &Path) {
    let mut ballast = File::create(path).expect("room for a file");
    let mut length = 0;
    while let Ok(written) = ballast.write(&[0xa5; 65_536]) {
        length += written as u64;
    }
    ballast.set_len(length - ROOM).expect("a shorter file");
}

#[test]
fn case_30_full_disk_ends_the_node_cleanly_and_it_restarts_once_there_is_room() {
    let Some(small) = std::env::var_os(SMALL) else {
        let name =
            "disk::case_30_full_disk_ends_the_node_cleanly_and_it_restarts_once_there_is_room";
        return on_a_small_disk(name);
    };
    let ballast = Path::new(&small).join("ballast");
    let devnet = Devnet::up(1);
    let mut acknowledged = devnet.generate(1, 5);
    fill(&ballast);
    let refused = loop {
        let reply = devnet.on(1, &["generate", "1"]);
        match reply.json["hashes"][0].as_str() {
            Some(hash) => acknowledged.push(hash.to_owned()),
            None => break reply,
        }
        assert!(acknowledged.len() < 5_000, "the disk does not run full");
    };
    println!("{} blocks, then: {}", acknowledged.len(), refused.stderr);
    devnet.wait_for_end(1);

    fs::remove_file(&ballast).expect("removable");
    devnet.restart();
    let height = devnet.status(1)["height"].as_u64().expect("a height");
    assert!(height >= acknowledged.len() as u64, "height {height}");
    let last = acknowledged.len().to_string();
    let block = devnet.on(1, &["print", &last]).success();
    assert_eq!(block["hash"].as_str(), acknowledged.last().map(String::as_str));
    devnet.generate(1, 3);
}

#[test]
fn case_32_node_that_lost_its_disk_gets_the_chain_from_its_peers() {
    let devnet = Devnet::up(2);
    devnet.generate(1, 30);
    let tip = devnet.converge(&[1, 2]);
    devnet.kill(2);
    let chain = devnet.node(2).data_dir().join("chain");
    assert!(chain.join("blocks").exists());
    fs::remove_dir_all(&chain).expect("removable");
    devnet.restart();
    let progress = devnet.on(2, &["sync"]).success();
    assert_eq!((&progress["synced"], &progress["height"]), (&true.into(), &30.into()));
    assert_eq!(devnet.converge(&[1, 2]), tip);
    devnet.generate(2, 1);
    assert_ne!(devnet.converge(&[1, 2]), tip);
}

#[test]
fn case_33_paused_for_ten_seconds_a_node_catches_up() {
    let devnet = Devnet::up(2);
    devnet.generate(1, 3);
    devnet.converge(&[1, 2]);
    let pid = devnet.node(2).pid();
    assert!(signal("STOP", pid));
    // The pause is what the case is about.
    let paused = thread::spawn(|| thread::sleep(Duration::from_secs(10)));
    devnet.generate(1, 10);
    paused.join().expect("a pause");
    assert!(signal("CONT", pid));
    let tip = devnet.converge(&[1, 2]);
    assert_eq!(devnet.status(1)["height"], 13);
    devnet.generate(2, 1);
    assert_ne!(devnet.converge(&[1, 2]), tip);
}
