//! The credential on one machine: a file that only its owner can read.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use pentad_whole_file::PRIVATE_MODE;
use subtle::ConstantTimeEq as _;
use thiserror::Error;

use crate::config::Secret;

/// Bytes of entropy: beyond guessing.
const COOKIE_BYTES: usize = 32;

/// One line of 64 hex digits, sent as `authorization: Bearer <line>`. Whoever holds it holds every
/// right, as the owner of the node's files does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie(Secret<String>);

/// Why there is no cookie.
#[derive(Debug, Error)]
pub enum CookieError {
    /// The file cannot be read.
    #[error("cannot read cookie file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write cookie file {}: {source}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file holds something else.
    #[error(
        "cookie file {} does not hold {} hex digits; delete it, and the next start makes a new one",
        path.display(), COOKIE_BYTES * 2
    )]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// Others than the owner may read the file.
    #[error(
        "cookie file {} is open to others (mode {mode:o}); run chmod 600 on it",
        path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode bits.
        mode: u32,
    },
    /// The system gave no randomness.
    #[error("no entropy for a cookie: {0}")]
    Entropy(getrandom::Error),
}

impl Cookie {
    /// Reads the cookie at `path`, and makes it first where there is none: so a restart keeps the
    /// credential that others hold.
    ///
    /// # Errors
    /// When the file cannot be read or written, or holds something else.
    pub fn load_or_create(path: &Path) -> Result<Self, CookieError> {
        match Self::load(path) {
            Err(CookieError::Unreadable { source, .. })
                if source.kind() == io::ErrorKind::NotFound =>
            {
                Self::create(path)
            }
            found => found,
        }
    }

    /// Reads the cookie that a running service made.
    ///
    /// # Errors
    /// When the file cannot be read, holds something else, or is readable by others.
    pub fn load(path: &Path) -> Result<Self, CookieError> {
        let unreadable = |source| CookieError::Unreadable { path: path.to_owned(), source };
        let line = fs::read_to_string(path).map_err(unreadable)?;
        let mode = fs::metadata(path).map_err(unreadable)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(CookieError::Exposed { path: path.to_owned(), mode });
        }
        let line = line.trim();
        match hex::decode(line) {
            Ok(bytes) if bytes.len() == COOKIE_BYTES => Ok(Self(Secret::new(line.to_owned()))),
            _ => Err(CookieError::Malformed { path: path.to_owned() }),
        }
    }

    /// Nobody ever reads half a cookie, and of two processes that start at once one makes it and
    /// both use it.
    fn create(path: &Path) -> Result<Self, CookieError> {
        let mut entropy = [0; COOKIE_BYTES];
        getrandom::fill(&mut entropy).map_err(CookieError::Entropy)?;
        let unwritable = |source| CookieError::Unwritable { path: path.to_owned(), source };
        if let Some(parent) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(unwritable)?;
        }
        let line = format!("{}\n", hex::encode(entropy));
        match pentad_whole_file::create(path, line, PRIVATE_MODE) {
            Err(source) if source.kind() != io::ErrorKind::AlreadyExists => Err(unwritable(source)),
            _ => Self::load(path),
        }
    }

    /// The token to send.
    #[must_use]
    pub fn reveal(&self) -> &str {
        self.0.reveal()
    }

    /// Compares in constant time, so that the answer's delay tells nothing.
    #[must_use]
    pub fn matches(&self, token: &[u8]) -> bool {
        self.reveal().as_bytes().ct_eq(token).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_private_and_survives_restarts() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("data/cookie");
        let first = Cookie::load_or_create(&path).expect("made");
        let mode = fs::metadata(&path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        assert_eq!(Cookie::load_or_create(&path).expect("kept"), first);
        assert_eq!(Cookie::load(&path).expect("read"), first);
        assert_eq!(first.reveal().len(), 64);
        assert_eq!(fs::read_dir(path.parent().expect("a parent")).expect("listed").count(), 1);
    }

    #[test]
    fn two_cookies_differ_and_show_nothing() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let one = Cookie::load_or_create(&dir.path().join("one")).expect("made");
        let two = Cookie::load_or_create(&dir.path().join("two")).expect("made");
        assert_ne!(one, two);
        assert!(!format!("{one:?}").contains(one.reveal()));
        assert!(one.matches(one.reveal().as_bytes()));
        assert!(!one.matches(two.reveal().as_bytes()));
        assert!(!one.matches(b""));
    }

    #[test]
    fn exposed_malformed_and_missing_files_are_refused() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("cookie");
        assert!(matches!(Cookie::load(&path), Err(CookieError::Unreadable { .. })));
        pentad_whole_file::create(&path, "not a cookie\n", PRIVATE_MODE).expect("written");
        assert!(matches!(Cookie::load_or_create(&path), Err(CookieError::Malformed { .. })));
        fs::remove_file(&path).expect("removed");
        Cookie::load_or_create(&path).expect("made");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("exposed");
        let error = Cookie::load_or_create(&path).expect_err("refused");
        assert!(error.to_string().contains("mode 644"), "{error}");
    }
}
