//! Addresses that survive a restart: `peers` in the data directory, a line each.
//!
//! ```text
//! added 192.0.2.1:5678
//! anchor node2.example:5678
//! ```

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::addresses::{Addresses, Origin};

/// Name of the file.
const FILE_NAME: &str = "peers";
/// Most bytes that are read: added nodes and links at the longest names.
const BYTES_MAX: u64 = 64 << 10;

/// The file. What it holds can be found again, so a damaged one is no reason to stop.
#[derive(Debug)]
pub(crate) struct AddressesFile {
    path: PathBuf,
    written: String,
}

impl AddressesFile {
    pub(crate) fn new(data_dir: &Path) -> Self {
        Self { path: data_dir.join(FILE_NAME), written: String::new() }
    }

    /// Inserts what was kept.
    pub(crate) fn load(&mut self, addresses: &mut Addresses) {
        let text = match self.read() {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "kept peers are lost");
                return;
            }
        };
        for line in text.lines() {
            let entry = match line.split_once(' ') {
                Some(("added", address)) => Some((address, Origin::Added)),
                Some(("anchor", address)) => Some((address, Origin::Anchor)),
                _ => None,
            };
            let inserted = entry.map(|(address, origin)| addresses.insert(address, origin));
            if !matches!(inserted, Some(Ok(()))) {
                tracing::warn!(path = %self.path.display(), line, "skipped a line");
            }
        }
        self.written = text;
    }

    /// Writes what is to be kept, if it changed. Small and not synced: it takes microseconds.
    pub(crate) fn save(&mut self, addresses: &Addresses) {
        let mut text = String::new();
        for (address, origin) in addresses.to_keep() {
            let word = if origin == Origin::Added { "added" } else { "anchor" };
            writeln!(text, "{word} {address}").expect("a string takes any text");
        }
        if text == self.written {
            return;
        }
        let draft = self.path.with_extension("new");
        match fs::write(&draft, &text).and_then(|()| fs::rename(&draft, &self.path)) {
            Ok(()) => self.written = text,
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "cannot keep peers");
            }
        }
    }

    fn read(&self) -> io::Result<String> {
        let mut text = String::new();
        fs::File::open(&self.path)?.take(BYTES_MAX).read_to_string(&mut text)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_and_damage_is_skipped() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut addresses = Addresses::new(8);
        addresses.insert("a:1", Origin::Added).expect("valid");
        addresses.insert("b:2", Origin::Hint).expect("valid");
        addresses.on_connected("b:2");
        AddressesFile::new(directory.path()).save(&addresses);
        let path = directory.path().join(FILE_NAME);
        let text = fs::read_to_string(&path).expect("written");
        assert_eq!(text, "added a:1\nanchor b:2\n");
        fs::write(&path, format!("{text}rubbish\nadded nowhere\n")).expect("written");
        let mut loaded = Addresses::new(8);
        AddressesFile::new(directory.path()).load(&mut loaded);
        loaded.on_connected("b:2");
        assert!(loaded.to_keep().eq(addresses.to_keep()));
    }
}
