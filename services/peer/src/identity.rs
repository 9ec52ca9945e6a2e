//! The static key of the encrypted links: a file in the data directory.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use pentad_whole_file::{PRIVATE_MODE, create};
use pentad_wire::StaticKey;
use snow::params::DHChoice;
use snow::resolvers::{CryptoResolver as _, DefaultResolver};
use thiserror::Error;
use zeroize::Zeroizing;

/// Name of the file in the data directory: 64 hex digits and a newline.
const FILE_NAME: &str = "peer.key";
/// Bytes of a Curve25519 private key.
const KEY_LEN: usize = 32;

/// A node's static key pair.
#[derive(Clone)]
pub(crate) struct Identity {
    private: Zeroizing<[u8; KEY_LEN]>,
    public: StaticKey,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("public", &self.public).finish_non_exhaustive()
    }
}

/// Why there is no static key.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// The file cannot be read or written.
    #[error("node key {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file holds something else.
    #[error(
        "node key {path} is damaged: expected 64 hex digits; restore it from a backup, or remove \
         it to become a new node to others"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// Others can read the file.
    #[error("node key {path} has mode {mode:o}: it must be 600; run chmod 600 on it")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The system gives no random numbers.
    #[error("no entropy for a node key: {0}")]
    Entropy(getrandom::Error),
}

impl Identity {
    /// Reads the key, or makes one at the first start.
    pub(crate) fn load_or_create(data_dir: &Path) -> Result<Self, IdentityError> {
        let path = data_dir.join(FILE_NAME);
        let failed = |source| IdentityError::File { path: path.clone(), source };
        match fs::metadata(&path) {
            Ok(metadata) => {
                let mode = metadata.permissions().mode() & 0o777;
                if mode & 0o077 != 0 {
                    return Err(IdentityError::Exposed { path, mode });
                }
                Self::load(&path)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(data_dir).map_err(failed)?;
                let identity = Self::generate()?;
                identity.save(&path).map_err(failed)?;
                Ok(identity)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// A fresh key that is in no file.
    pub(crate) fn generate() -> Result<Self, IdentityError> {
        let mut private = Zeroizing::new([0; KEY_LEN]);
        getrandom::fill(private.as_mut()).map_err(IdentityError::Entropy)?;
        Ok(Self::from_private(private))
    }

    fn from_private(private: Zeroizing<[u8; KEY_LEN]>) -> Self {
        let mut pair = DefaultResolver
            .resolve_dh(&DHChoice::Curve25519)
            .expect("the default resolver of snow has Curve25519");
        pair.set(private.as_slice());
        let public = pair.pubkey().try_into().expect("a Curve25519 public key has 32 bytes");
        Self { private, public: StaticKey::from_bytes(public) }
    }

    fn load(path: &Path) -> Result<Self, IdentityError> {
        let damaged = || IdentityError::Damaged { path: path.to_owned() };
        let failed = |source| IdentityError::File { path: path.to_owned(), source };
        let mut text = Zeroizing::new(String::new());
        let file = fs::File::open(path).map_err(failed)?;
        // One byte more than a valid file has is enough to tell that it is none.
        let limit = 2 * KEY_LEN as u64 + 2;
        file.take(limit).read_to_string(&mut text).map_err(failed)?;
        let mut private = Zeroizing::new([0; KEY_LEN]);
        hex::decode_to_slice(text.trim_end(), private.as_mut()).map_err(|_| damaged())?;
        Ok(Self::from_private(private))
    }

    /// Never in place of a key that another process made since.
    fn save(&self, path: &Path) -> io::Result<()> {
        let line = Zeroizing::new(hex::encode(self.private.as_slice()));
        create(path, Zeroizing::new([line.as_str(), "\n"].concat()), PRIVATE_MODE)
    }

    pub(crate) fn private(&self) -> &[u8; KEY_LEN] {
        &self.private
    }

    pub(crate) const fn public(&self) -> StaticKey {
        self.public
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_kept() {
        let directory = tempfile::tempdir().expect("a directory");
        let data_dir = directory.path().join("node");
        let made = Identity::load_or_create(&data_dir).expect("made");
        let read = Identity::load_or_create(&data_dir).expect("read");
        assert_eq!(made.public(), read.public());
        let mode = fs::metadata(data_dir.join(FILE_NAME)).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, PRIVATE_MODE);
        let secret = hex::encode(made.private());
        assert!(!format!("{made:?}").contains(&secret));
    }

    #[test]
    fn a_damaged_or_exposed_file_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(FILE_NAME);
        Identity::load_or_create(directory.path()).expect("made");
        fs::write(&path, "not a key").expect("written");
        let error = Identity::load_or_create(directory.path()).expect_err("damaged");
        assert!(matches!(error, IdentityError::Damaged { .. }), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("changed");
        let error = Identity::load_or_create(directory.path()).expect_err("exposed");
        assert!(matches!(error, IdentityError::Exposed { mode: 0o644, .. }), "{error}");
    }

    /// RFC 7748, section 6.1.
    #[test]
    fn the_public_key_is_that_of_the_rfc() {
        let mut private = Zeroizing::new([0; KEY_LEN]);
        let alice = "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a";
        hex::decode_to_slice(alice, private.as_mut()).expect("hex");
        let public = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a";
        assert_eq!(Identity::from_private(private).public().to_string(), public);
    }
}
