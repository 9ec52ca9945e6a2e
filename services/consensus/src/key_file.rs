//! The validator's secret key, in a file that only its owner can read.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use pentad_crypto::{KeyError, SecretKey};
use thiserror::Error;
use zeroize::Zeroizing;

/// Version byte of WIF keys.
const WIF_VERSION: u8 = 0x80;
/// Digits of a key in hex.
const HEX_DIGITS: usize = 64;
/// Permission bits of everybody but the owner.
const OTHERS: u32 = 0o077;
/// The same of a file of root's, but that its group may read: so orchestrators hand secrets to
/// processes that are not root's.
const OTHERS_OF_ROOT: u32 = 0o037;

/// Why there is no validator key.
#[derive(Debug, Error)]
pub enum KeyFileError {
    /// The file cannot be read.
    #[error("cannot read validator key {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others than the owner may read the file.
    #[error(
        "validator key {} is open to others (mode {mode:o}); run chmod 600 on it",
        path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode bits.
        mode: u32,
    },
    /// The file holds something else.
    #[error("validator key {} is neither a WIF key nor 64 hex digits: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong; never the text itself.
        problem: KeyError,
    },
}

/// Reads the key at `path`.
///
/// # Errors
/// When the file cannot be read, is readable by others, or holds no key.
pub(crate) fn load(path: &Path) -> Result<SecretKey, KeyFileError> {
    let unreadable = |source| KeyFileError::Unreadable { path: path.to_owned(), source };
    let metadata = fs::metadata(path).map_err(unreadable)?;
    let mode = metadata.permissions().mode() & 0o777;
    let forbidden = if metadata.uid() == 0 { OTHERS_OF_ROOT } else { OTHERS };
    if mode & forbidden != 0 {
        return Err(KeyFileError::Exposed { path: path.to_owned(), mode });
    }
    let text = Zeroizing::new(fs::read_to_string(path).map_err(unreadable)?);
    parse(text.trim()).map_err(|problem| KeyFileError::Malformed { path: path.to_owned(), problem })
}

fn parse(text: &str) -> Result<SecretKey, KeyError> {
    if text.len() != HEX_DIGITS {
        return SecretKey::from_wif(text, WIF_VERSION);
    }
    let mut bytes = Zeroizing::new([0; HEX_DIGITS / 2]);
    hex::decode_to_slice(text, bytes.as_mut_slice()).map_err(|_| KeyError::Secret)?;
    SecretKey::from_bytes(*bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).expect("writable");
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
    }

    #[test]
    fn a_key_is_read_in_hex_and_in_wif() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("validator.key");
        let key = SecretKey::from_bytes([7; 32]).expect("a key");
        for text in [hex::encode([7; 32]), key.to_wif(WIF_VERSION).to_string()] {
            write(&path, &format!("{text}\n"), 0o600);
            assert_eq!(load(&path).expect("a key").public_key(), key.public_key());
        }
    }

    #[test]
    fn what_is_no_private_key_is_refused_and_not_repeated() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("validator.key");
        assert!(matches!(load(&path), Err(KeyFileError::Unreadable { .. })));
        let zero = "0".repeat(64);
        for text in ["", "hunter2", &zero, &"x".repeat(64), &hex::encode([7; 31])] {
            write(&path, text, 0o600);
            let error = load(&path).expect_err(text).to_string();
            assert!(error.contains("neither"), "{error}");
            assert!(text.is_empty() || !error.contains(text), "{error}");
        }
        for mode in [0o644, 0o660, 0o604] {
            write(&path, &hex::encode([7; 32]), mode);
            let error = load(&path).expect_err("exposed").to_string();
            assert!(error.contains("chmod 600"), "{error}");
        }
        write(&path, &hex::encode([7; 32]), 0o640);
        let is_roots = fs::metadata(&path).expect("there").uid() == 0;
        assert_eq!(load(&path).is_ok(), is_roots, "a group reads what is root's alone");
    }
}
