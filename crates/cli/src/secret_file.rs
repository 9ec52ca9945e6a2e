//! Passphrase files: what the wallets of a node unlock by without anybody at the keyboard.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::fault::Fault;

/// Bytes of entropy: beyond guessing.
const ENTROPY_BYTES: usize = 32;
/// Only the owner reads and writes.
const FILE_MODE: u32 = 0o600;
/// Only the owner enters.
const DIRECTORY_MODE: u32 = 0o700;
/// Name of the passphrase file in a data directory.
const PASSPHRASE_FILE: &str = "passphrase";

/// Makes a directory, and those above it, for the owner alone; one that is there stays as it is.
///
/// # Errors
/// When the system refuses.
pub fn create_directory(path: &Path) -> Result<(), Fault> {
    if path.exists() && !path.is_dir() {
        return Err(Fault::refused(format!("{} is not a directory", path.display())));
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(path)
        .map_err(|error| Fault::refused(format!("cannot create {}: {error}", path.display())))
}

/// The passphrase file of a data directory, made with a random passphrase where there is none;
/// whether it was made.
///
/// # Errors
/// When it cannot be written or the system gives no entropy.
pub fn passphrase_file(data_dir: &Path) -> Result<(PathBuf, bool), Fault> {
    let path = data_dir.join(PASSPHRASE_FILE);
    let mut entropy = [0; ENTROPY_BYTES];
    getrandom::fill(&mut entropy)
        .map_err(|error| Fault::refused(format!("no entropy for a passphrase: {error}")))?;
    match write_new(&path, &hex::encode(entropy)) {
        Ok(()) => Ok((path, true)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok((path, false)),
        Err(error) => Err(Fault::refused(format!("cannot write {}: {error}", path.display()))),
    }
}

fn write_new(path: &Path, line: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path)?;
    writeln!(file, "{line}")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_passphrase_is_private_and_made_once() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (path, made) = passphrase_file(directory.path()).expect("made");
        assert!(made);
        let first = fs::read_to_string(&path).expect("readable");
        assert_eq!(first.trim().len(), 2 * ENTROPY_BYTES);
        let mode = fs::metadata(&path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode, FILE_MODE);
        let (again, made) = passphrase_file(directory.path()).expect("kept");
        assert!(!made);
        assert_eq!(fs::read_to_string(again).expect("readable"), first);
    }
}
