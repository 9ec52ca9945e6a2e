//! Files of wallets as text, and how they are checked.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

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
