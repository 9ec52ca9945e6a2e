//! Files of mode 0600: what the wallets of a node unlock by without anybody at the keyboard, and
//! the keys of validators.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use pentad_crypto::SecretKey;
use pentad_whole_file::{PRIVATE_MODE, create};
use zeroize::Zeroizing;

use crate::fault::Fault;

/// Bytes of entropy: beyond guessing.
const ENTROPY_BYTES: usize = 32;
/// Only the owner enters.
const DIRECTORY_MODE: u32 = 0o700;
/// Name of the passphrase file in a data directory.
const PASSPHRASE_FILE: &str = "passphrase";
/// Name of a validator's key in a data directory.
const VALIDATOR_KEY_FILE: &str = "validator.key";

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
    if path.exists() {
        return Ok((path, false));
    }
    let mut entropy = [0; ENTROPY_BYTES];
    getrandom::fill(&mut entropy)
        .map_err(|error| Fault::refused(format!("no entropy for a passphrase: {error}")))?;
    match write_new(&path, &hex::encode(entropy)) {
        Ok(()) => Ok((path, true)),
        // Another command made it in the meantime.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok((path, false)),
        Err(error) => Err(Fault::unwritable(&path, error)),
    }
}

/// The file of a validator's key in a data directory.
pub fn validator_key_file(data_dir: &Path) -> PathBuf {
    data_dir.join(VALIDATOR_KEY_FILE)
}

/// Makes a validator's key at `path`.
///
/// # Errors
/// When there is one already, it cannot be written, or the system gives no entropy.
pub fn make_validator_key(path: &Path) -> Result<SecretKey, Fault> {
    let mut entropy = Zeroizing::new([0; ENTROPY_BYTES]);
    getrandom::fill(entropy.as_mut_slice())
        .map_err(|error| Fault::refused(format!("no entropy for a validator key: {error}")))?;
    let key = SecretKey::from_bytes(*entropy)
        .map_err(|error| Fault::refused(format!("no validator key: {error}")))?;
    write_new(path, &Zeroizing::new(hex::encode(entropy.as_slice())))
        .map_err(|error| Fault::unwritable(path, error))?;
    Ok(key)
}

fn write_new(path: &Path, line: &str) -> io::Result<()> {
    create(path, Zeroizing::new([line, "\n"].concat()), PRIVATE_MODE)
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
        assert_eq!(mode, PRIVATE_MODE);
        let (again, made) = passphrase_file(directory.path()).expect("kept");
        assert!(!made);
        assert_eq!(fs::read_to_string(again).expect("readable"), first);
    }

    #[test]
    fn a_validator_key_is_private_and_never_replaced() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = validator_key_file(directory.path());
        let key = make_validator_key(&path).expect("made");
        let text = fs::read_to_string(&path).expect("readable");
        assert_eq!(text.trim(), hex::encode(key.to_bytes().as_slice()));
        let mode = fs::metadata(&path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode, PRIVATE_MODE);
        make_validator_key(&path).expect_err("there is one");
        assert_eq!(fs::read_to_string(&path).expect("readable"), text);
    }
}
