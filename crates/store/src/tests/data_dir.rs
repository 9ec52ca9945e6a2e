use std::{fs, process};

use pentad_primitives::{Hash256, sha256d};
use tempfile::TempDir;

use crate::{DataDir, DataDirError};

#[test]
fn second_process_is_told_who_holds_the_directory() {
    let directory = TempDir::new().expect("a temporary directory");
    let path = directory.path().join("chain");
    let held = DataDir::open(&path, &Hash256::ZERO).expect("a free directory");
    let error = DataDir::open(&path, &Hash256::ZERO).expect_err("the lock is held");
    assert!(matches!(&error, DataDirError::Locked { pid: Some(pid), .. } if *pid == process::id()));
    let message = error.to_string();
    assert!(message.contains(&path.display().to_string()), "{message}");
    assert!(message.contains(&process::id().to_string()), "{message}");
    drop(held);
    DataDir::open(&path, &Hash256::ZERO).expect("the lock went with its holder");
}

#[test]
fn directory_of_another_network_is_refused() {
    let directory = TempDir::new().expect("a temporary directory");
    let ours = sha256d(b"ours");
    drop(DataDir::open(directory.path(), &ours).expect("a free directory"));
    drop(DataDir::open(directory.path(), &ours).expect("its own spec"));
    let error = DataDir::open(directory.path(), &Hash256::ZERO).expect_err("another spec");
    let DataDirError::OtherSpec { found, .. } = error else { panic!("{error}") };
    assert_eq!(found, ours.to_string());
}

#[test]
fn directory_of_another_format_is_refused() {
    let directory = TempDir::new().expect("a temporary directory");
    drop(DataDir::open(directory.path(), &Hash256::ZERO).expect("a free directory"));
    let file = directory.path().join("FORMAT");
    let text = fs::read_to_string(&file).expect("a readable file");
    assert_eq!(text, format!("format = 1\nspec = {}\n", Hash256::ZERO));
    fs::write(&file, text.replace("format = 1", "format = 2")).expect("a writable file");
    let error = DataDir::open(directory.path(), &Hash256::ZERO).expect_err("a newer format");
    assert!(matches!(error, DataDirError::Format { found, .. } if found == "2"));
}
