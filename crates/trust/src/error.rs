//! Why a file of trust cannot be used.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why a certificate, key, authority or file of tokens cannot be used. Messages name the file and
/// never what is in it.
#[derive(Debug, Error)]
pub enum TrustError {
    /// The system does not give it.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is there, and not of the right kind.
    #[error("{}: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do about it.
        problem: String,
    },
    /// Certificate and key, or authorities, do not work together.
    #[error("TLS: {0}")]
    Unusable(String),
    /// One of certificate and key without the other.
    #[error(
        "a certificate needs its key and a key its certificate: set tls.certificate and tls.key"
    )]
    HalfPair,
    /// A certificate cannot be made.
    #[error("cannot make a certificate: {0}")]
    Unmakeable(String),
}
