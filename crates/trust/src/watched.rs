//! Files that may change while a process runs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::error::TrustError;

/// Largest file that is read: thousands of certificates or tokens.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// What others may do with a file that decides who gets in: not write it.
const WRITABLE_BY_OTHERS: u32 = 0o002;
/// What others may do with a key: nothing. The group may read, as in Kubernetes' secrets.
const OPEN_TO_OTHERS: u32 = 0o007;

/// How often files that do not work together are looked at, unchanged, before they count as broken
/// at the first reading: whoever replaces two of them needs a moment between.
const FIRST_LOOKS: u32 = 10;
/// Between two of those looks.
const FIRST_LOOKS_APART: Duration = Duration::from_millis(50);

/// What is in a file, forgotten when dropped.
pub type Contents = Zeroizing<Vec<u8>>;

/// Files and what is made of them.
pub trait Source {
    /// What is made of them.
    type Value;

    /// Reads the files; always the same number of contents in the same order.
    ///
    /// # Errors
    /// When one cannot be read, or may be by those who must not.
    fn read(&self) -> Result<Vec<Contents>, TrustError>;

    /// Makes something of what was read.
    ///
    /// # Errors
    /// When it is of no use.
    fn parse(&self, contents: &[Contents]) -> Result<Self::Value, TrustError>;

    /// What is in use, in a few words for the log.
    fn summary(value: &Self::Value) -> String;
}

/// What a look at the files found.
#[derive(Debug)]
pub enum Refresh {
    /// They are as they were, or as broken as was said already.
    Same,
    /// They were of no use, and are again what is in use.
    Restored,
    /// They changed to something of no use: perhaps somebody is still writing. The next look tells.
    Unsettled,
    /// They changed, and what they hold now is in use.
    Changed,
    /// They are of no use, and have been for two looks; what they held before stays in use.
    Broken(TrustError),
}

/// What files hold, in use and looked after.
#[derive(Debug)]
pub struct Watched<S: Source> {
    source: S,
    current: RwLock<Arc<S::Value>>,
    generation: AtomicU64,
    seen: Mutex<Seen>,
}

type Fingerprint = [u8; 32];

#[derive(Debug)]
struct Seen {
    loaded: Fingerprint,
    unsettled: Option<Fingerprint>,
    broken: Option<Fingerprint>,
}

impl<S: Source> Watched<S> {
    /// Reads the files for the first time; waits for up to half a second from their last change
    /// when they are of no use, for somebody may be replacing them one after the other.
    ///
    /// # Errors
    /// When they are of no use.
    pub fn load(source: S) -> Result<Self, TrustError> {
        let (loaded, value) = settled(&source)?;
        let seen = Seen { loaded, unsettled: None, broken: None };
        Ok(Self {
            source,
            current: RwLock::new(Arc::new(value)),
            generation: AtomicU64::new(0),
            seen: Mutex::new(seen),
        })
    }

    /// What is in use.
    #[must_use]
    pub fn current(&self) -> Arc<S::Value> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Grows with every change of what is in use.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Looks at the files again.
    pub fn refresh(&self) -> Refresh {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (print, parsed) = match self.source.read() {
            Ok(contents) => {
                let print = fingerprint(&contents);
                if print == seen.loaded {
                    seen.unsettled = None;
                    return match seen.broken.take() {
                        Some(_) => Refresh::Restored,
                        None => Refresh::Same,
                    };
                }
                (print, self.source.parse(&contents))
            }
            Err(error) => (fingerprint(&[error.to_string().into_bytes().into()]), Err(error)),
        };
        match parsed {
            Ok(value) => {
                *seen = Seen { loaded: print, unsettled: None, broken: None };
                let value = Arc::new(value);
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = value;
                self.generation.fetch_add(1, Ordering::Release);
                Refresh::Changed
            }
            Err(_) if seen.broken == Some(print) => Refresh::Same,
            Err(error) if seen.unsettled == Some(print) => {
                (seen.unsettled, seen.broken) = (None, Some(print));
                Refresh::Broken(error)
            }
            Err(_) => {
                seen.unsettled = Some(print);
                Refresh::Unsettled
            }
        }
    }
}

fn settled<S: Source>(source: &S) -> Result<(Fingerprint, S::Value), TrustError> {
    let (mut last, mut looks) = (None, 0);
    loop {
        let contents = source.read()?;
        let print = fingerprint(&contents);
        let error = match source.parse(&contents) {
            Ok(value) => return Ok((print, value)),
            Err(error) => error,
        };
        looks = if last == Some(print) { looks + 1 } else { 1 };
        if looks == FIRST_LOOKS {
            return Err(error);
        }
        last = Some(print);
        thread::sleep(FIRST_LOOKS_APART);
    }
}

fn fingerprint(contents: &[Contents]) -> Fingerprint {
    let mut hasher = Sha256::new();
    for content in contents {
        hasher.update(content.len().to_be_bytes());
        hasher.update(content.as_slice());
    }
    hasher.finalize().into()
}

/// Reads a file that decides who gets in.
pub fn read_public(path: &Path) -> Result<Contents, TrustError> {
    read(path, WRITABLE_BY_OTHERS, "others may write it; run chmod o-w on it")
}

/// Reads a key.
pub fn read_secret(path: &Path) -> Result<Contents, TrustError> {
    read(path, OPEN_TO_OTHERS, "it is open to others; run chmod 600 on it")
}

fn read(path: &Path, forbidden: u32, problem: &str) -> Result<Contents, TrustError> {
    let unreadable = |source| TrustError::Unreadable { path: path.to_owned(), source };
    let malformed = |problem: &str| TrustError::Malformed {
        path: path.to_owned(),
        problem: problem.to_owned(),
    };
    let found = fs::metadata(path).map_err(unreadable)?;
    if found.permissions().mode() & forbidden != 0 {
        return Err(malformed(problem));
    }
    if found.len() > FILE_BYTES_MAX {
        return Err(malformed("larger than 1 MiB"));
    }
    fs::read(path).map(Zeroizing::new).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A number, read as the test likes.
    struct Number<R>(R);

    impl<R: Fn() -> Result<Vec<Contents>, TrustError>> Source for Number<R> {
        type Value = u32;

        fn read(&self) -> Result<Vec<Contents>, TrustError> {
            (self.0)()
        }

        fn parse(&self, contents: &[Contents]) -> Result<u32, TrustError> {
            let text = std::str::from_utf8(&contents[0]).expect("the test writes text");
            text.parse().map_err(|_| TrustError::Unusable(format!("{text} is no number")))
        }

        fn summary(value: &u32) -> String {
            value.to_string()
        }
    }

    #[test]
    fn a_broken_file_keeps_the_old_value_and_is_told_of_once() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("number");
        let write = |text: &str| fs::write(&path, text).expect("written");
        write("1");
        let number = Number(|| Ok(vec![read_public(&path)?]));
        let watched = Watched::load(number).expect("a number");
        assert!(matches!(watched.refresh(), Refresh::Same));
        write("x");
        assert!(matches!(watched.refresh(), Refresh::Unsettled));
        assert!(matches!(watched.refresh(), Refresh::Broken(_)));
        assert!(matches!(watched.refresh(), Refresh::Same));
        fs::remove_file(&path).expect("removed");
        assert!(matches!(watched.refresh(), Refresh::Unsettled));
        assert!(matches!(watched.refresh(), Refresh::Broken(_)));
        assert_eq!((*watched.current(), watched.generation()), (1, 0));
        write("2");
        assert!(matches!(watched.refresh(), Refresh::Changed));
        assert_eq!((*watched.current(), watched.generation()), (2, 1));
        write("x");
        assert!(matches!(watched.refresh(), Refresh::Unsettled), "told of anew");
        write("2");
        assert!(matches!(watched.refresh(), Refresh::Same));
        write("x");
        assert!(matches!(watched.refresh(), Refresh::Unsettled));
        assert!(matches!(watched.refresh(), Refresh::Broken(_)));
        write("2");
        assert!(matches!(watched.refresh(), Refresh::Restored));
        assert!(matches!(watched.refresh(), Refresh::Same));
        assert_eq!(watched.generation(), 1);
    }

    /// What looks find that differ, and then the same for ever.
    fn load_after(looks: Vec<&str>, last: &str) -> Result<u32, TrustError> {
        let looks = Mutex::new(looks.into_iter());
        let number = Number(|| {
            let text = looks.lock().expect("nobody panicked").next().unwrap_or(last);
            Ok(vec![Zeroizing::new(text.as_bytes().to_vec())])
        });
        Watched::load(number).map(|watched| *watched.current())
    }

    #[test]
    fn files_that_are_being_replaced_are_waited_for_at_the_first_reading() {
        let almost = usize::try_from(FIRST_LOOKS).expect("a few") - 1;
        let looks = [vec!["half"; almost], vec!["other half"; almost]].concat();
        assert_eq!(load_after(looks, "7").expect("a number in the end"), 7);
        let refused = load_after(vec!["half"], "broken").expect_err("for good");
        assert_eq!(refused.to_string(), "TLS: broken is no number");
    }

    #[test]
    fn files_open_to_others_are_refused() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("file");
        fs::write(&path, "1").expect("written");
        for (mode, public, secret) in
            [(0o600, true, true), (0o640, true, true), (0o644, true, false), (0o646, false, false)]
        {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("changed");
            assert_eq!(read_public(&path).is_ok(), public, "{mode:o}");
            assert_eq!(read_secret(&path).is_ok(), secret, "{mode:o}");
        }
    }

    #[test]
    fn a_file_that_is_too_large_is_not_read() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("file");
        let file = fs::File::create(&path).expect("made");
        file.set_len(FILE_BYTES_MAX + 1).expect("a sparse file");
        assert!(matches!(read_public(&path), Err(TrustError::Malformed { .. })));
    }
}
