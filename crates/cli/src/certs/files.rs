//! The files of an authority's directory.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use pentad_trust::Issued;
use pentad_whole_file::{Draft, PRIVATE_MODE, replace};

use crate::fault::Fault;

/// For everybody to read.
const PUBLIC_MODE: u32 = 0o644;
/// Name of an authority's own files, which no certificate can have.
pub const AUTHORITY: &str = "authority";
/// Largest file that is read: thousands of certificates.
const BYTES_MAX: u64 = 1 << 20;

/// `DIR/NAME.pem`.
pub fn certificate_path(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.pem"))
}

/// `DIR/NAME.key`.
pub fn key_path(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.key"))
}

/// Nobody else changes files of `directory` until what comes back is dropped.
///
/// # Errors
/// When there is no such directory.
pub fn lock(directory: &Path) -> Result<File, Fault> {
    let refuse = |error: io::Error| {
        Fault::refused(format!("cannot open {}: {error}", directory.display()))
            .with_hint("`pentad certs init` makes an authority in a directory")
    };
    let handle = File::open(directory).map_err(refuse)?;
    handle.lock().map_err(refuse)?;
    Ok(handle)
}

/// Reads a text.
///
/// # Errors
/// When it cannot be read.
pub fn read(path: &Path) -> Result<String, Fault> {
    let refuse = |error: String| Fault::refused(format!("cannot read {}: {error}", path.display()));
    let found = fs::metadata(path).map_err(|error| refuse(error.to_string()))?;
    if found.len() > BYTES_MAX {
        return Err(refuse(format!("larger than {BYTES_MAX} bytes")));
    }
    fs::read_to_string(path).map_err(|error| refuse(error.to_string()))
}

/// Writes key and certificate, and then puts both in place, one right after the other. A process
/// that sees one without the other waits, or keeps what it has, until it sees both.
///
/// # Errors
/// When the system refuses.
pub fn write_pair(directory: &Path, name: &str, issued: &Issued) -> Result<(), Fault> {
    let (key_path, certificate_path) =
        (key_path(directory, name), certificate_path(directory, name));
    let of_key = |error| Fault::unwritable(&key_path, error);
    let of_certificate = |error| Fault::unwritable(&certificate_path, error);
    let key = Draft::write(&key_path, &issued.key, PRIVATE_MODE).map_err(of_key)?;
    let certificate = Draft::write(&certificate_path, &issued.certificate, PUBLIC_MODE)
        .map_err(of_certificate)?;
    key.put_unsynced().map_err(of_key)?;
    certificate.put().map_err(of_certificate)
}

/// Replaces a file that everybody may read.
///
/// # Errors
/// When the system refuses.
pub fn replace_public(path: &Path, text: &str) -> Result<(), Fault> {
    replace(path, text, PUBLIC_MODE).map_err(|error| Fault::unwritable(path, error))
}
