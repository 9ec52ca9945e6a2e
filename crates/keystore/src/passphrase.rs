use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use thiserror::Error;
use zeroize::Zeroizing;

/// Longest passphrase, in bytes: far above what people type, and it bounds the work of hashing it.
const PASSPHRASE_BYTES_MAX: usize = 1024;
/// Permission bits of everybody but the owner.
const OTHERS: u32 = 0o077;
/// The same of a file of root's, but that its group may read: so orchestrators hand secrets to
/// processes that are not root's.
const OTHERS_OF_ROOT: u32 = 0o037;

/// What a wallet is sealed under. Wiped from memory when dropped, redacted in `Debug`.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<Vec<u8>>);

/// Why a passphrase cannot be had.
#[derive(Debug, Error)]
pub enum PassphraseError {
    /// It has no characters.
    #[error("the passphrase is empty")]
    Empty,
    /// It is longer than 1024 bytes.
    #[error("the passphrase is longer than {PASSPHRASE_BYTES_MAX} bytes")]
    TooLong,
    /// The file cannot be read.
    #[error("cannot read the passphrase file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others than its owner may read or write the file.
    #[error("the passphrase file {} has mode {mode:04o}: others can read it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// What stands in the file is no passphrase.
    #[error("the passphrase file {}: {problem}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: Box<PassphraseError>,
    },
}

impl Passphrase {
    /// Takes over `text`.
    ///
    /// # Errors
    /// When it is empty or longer than 1024 bytes.
    pub fn new(text: String) -> Result<Self, PassphraseError> {
        Self::from_bytes(Zeroizing::new(text.into_bytes()))
    }

    fn from_bytes(bytes: Zeroizing<Vec<u8>>) -> Result<Self, PassphraseError> {
        match bytes.len() {
            0 => Err(PassphraseError::Empty),
            1..=PASSPHRASE_BYTES_MAX => Ok(Self(bytes)),
            _ => Err(PassphraseError::TooLong),
        }
    }

    /// Reads a file that holds a passphrase and perhaps a line end. Only its owner may have access
    /// to it (mode 0600).
    ///
    /// # Errors
    /// When it cannot be read, is open to others, or holds no passphrase.
    pub fn from_file(path: &Path) -> Result<Self, PassphraseError> {
        let unreadable = |source| PassphraseError::Unreadable { path: path.to_owned(), source };
        let file = File::open(path).map_err(unreadable)?;
        // Asked of the open file, not of the path: what is checked is what is read.
        let metadata = file.metadata().map_err(unreadable)?;
        if is_exposed(&metadata) {
            let mode = metadata.permissions().mode() & 0o7777;
            return Err(PassphraseError::Exposed { path: path.to_owned(), mode });
        }
        // Room for a line end and one byte too many, made at once so that no copy stays behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(PASSPHRASE_BYTES_MAX + 3));
        file.take(PASSPHRASE_BYTES_MAX as u64 + 3).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.ends_with(b"\n") {
            bytes.pop();
        }
        if bytes.ends_with(b"\r") {
            bytes.pop();
        }
        Self::from_bytes(bytes).map_err(|problem| PassphraseError::Content {
            path: path.to_owned(),
            problem: Box::new(problem),
        })
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

fn is_exposed(metadata: &Metadata) -> bool {
    let forbidden = if metadata.uid() == 0 { OTHERS_OF_ROOT } else { OTHERS };
    metadata.permissions().mode() & forbidden != 0
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;

    fn file(content: &[u8], mode: u32) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("passphrase");
        fs::write(&path, content).expect("writable");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("own file");
        (directory, path)
    }

    #[test]
    fn one_line_end_is_not_part_of_it() {
        for content in [&b"open sesame"[..], b"open sesame\n", b"open sesame\r\n"] {
            let (_directory, path) = file(content, 0o600);
            let passphrase = Passphrase::from_file(&path).expect("a passphrase");
            assert_eq!(passphrase.as_bytes(), b"open sesame");
        }
    }

    #[test]
    fn a_file_open_to_others_is_refused() {
        for mode in [0o644, 0o660, 0o604, 0o620, 0o610] {
            let (_directory, path) = file(b"secret\n", mode);
            let error = Passphrase::from_file(&path).expect_err("exposed");
            assert!(matches!(error, PassphraseError::Exposed { .. }), "{mode:o}: {error}");
        }
        let (_directory, path) = file(b"secret\n", 0o640);
        let is_roots = fs::metadata(&path).expect("there").uid() == 0;
        assert_eq!(Passphrase::from_file(&path).is_ok(), is_roots, "a group reads what is root's");
    }

    #[test]
    fn no_passphrase_in_the_file() {
        let long = vec![b'x'; 2000];
        for content in [&b""[..], b"\n", &long] {
            let (_directory, path) = file(content, 0o600);
            let error = Passphrase::from_file(&path).expect_err("no passphrase");
            assert!(matches!(error, PassphraseError::Content { .. }), "{error}");
        }
        let missing = Passphrase::from_file(Path::new("/nonexistent/passphrase"));
        assert!(matches!(missing, Err(PassphraseError::Unreadable { .. })));
    }

    #[test]
    fn debug_is_redacted() {
        let passphrase = Passphrase::new("hunter2".to_owned()).expect("valid");
        assert!(!format!("{passphrase:?}").contains("hunter2"));
    }
}
