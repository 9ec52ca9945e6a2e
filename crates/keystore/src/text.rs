//! Files of wallets as text: how they are checked, and how they get to the disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use pentad_crypto::sha256d;
use serde::Serialize;

/// Largest file that is read: thousands of accounts.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Bytes of a file's check.
pub(crate) const CHECK_BYTES: usize = 8;

/// A file that ends with a check of itself.
pub(crate) trait Checked: Clone + Serialize {
    fn set_check(&mut self, check: [u8; CHECK_BYTES]);
}

/// The file as JSON, its check set.
pub(crate) fn to_json(file: &impl Checked) -> String {
    let mut checked = file.clone();
    checked.set_check([0; CHECK_BYTES]);
    let digest = sha256d(json(&checked).as_bytes()).to_bytes();
    checked.set_check(digest[..CHECK_BYTES].try_into().expect("a hash is longer"));
    json(&checked)
}

fn json(file: &impl Serialize) -> String {
    let mut json = serde_json::to_string_pretty(file).expect("plain fields, text keys");
    json.push('\n');
    json
}

/// The text of a file; `None` when it is none.
pub(crate) fn read(path: &Path) -> io::Result<Option<String>> {
    let mut text = String::new();
    match File::open(path)?.take(FILE_BYTES_MAX).read_to_string(&mut text) {
        Ok(_) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a new file; an existing one is left alone (`AlreadyExists`).
pub(crate) fn create(path: &Path, text: &str) -> io::Result<()> {
    let temporary = write_temporary(path, text)?;
    // Unlike a rename, a link never replaces what is there.
    let linked = fs::hard_link(&temporary, path);
    fs::remove_file(&temporary)?;
    linked?;
    sync_directory(path)
}

/// Replaces the file at once: after a crash it is the old one or the new one, whole.
pub(crate) fn replace(path: &Path, text: &str) -> io::Result<()> {
    fs::rename(write_temporary(path, text)?, path)?;
    sync_directory(path)
}

fn write_temporary(path: &Path, text: &str) -> io::Result<PathBuf> {
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    // What a crash left behind, perhaps with other permissions.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(temporary)
}

/// A new name is durable only once its directory is.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}
