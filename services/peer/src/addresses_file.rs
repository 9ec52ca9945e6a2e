//! Addresses that survive a restart: `peers` in the data directory, a line each.
//!
//! ```text
//! added 192.0.2.1:5678
//! anchor node2.example:5678
//! ```

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use crate::addresses::{Addresses, Origin};
use crate::kept_file::KeptFile;

/// Name of the file.
const FILE_NAME: &str = "peers";
/// Most bytes that are read: added nodes and links at the longest names.
const BYTES_MAX: u64 = 64 << 10;

/// The file. What it holds can be found again, so a damaged one is no reason to stop.
#[derive(Debug)]
pub(crate) struct AddressesFile(KeptFile);

impl AddressesFile {
    /// The file in `data_dir`, and what has to run so that changes are kept.
    pub(crate) fn new(data_dir: &Path) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (file, writing) = KeptFile::new(data_dir.join(FILE_NAME));
        (Self(file), writing)
    }

    /// Inserts what was kept.
    pub(crate) fn load(&self, addresses: &mut Addresses) {
        let path = self.0.path().display();
        let text = match self.0.read(BYTES_MAX) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                tracing::warn!(%path, %error, "kept peers are lost");
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
                tracing::warn!(%path, line, "skipped a line");
            }
        }
    }

    /// Keeps what is to be kept.
    pub(crate) fn save(&self, addresses: &Addresses) {
        let mut text = String::new();
        for (address, origin) in addresses.to_keep() {
            let word = if origin == Origin::Added { "added" } else { "anchor" };
            writeln!(text, "{word} {address}").expect("a string takes any text");
        }
        self.0.keep(text);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::PeerConfig;

    #[tokio::test]
    async fn addresses_survive_and_damage_is_skipped() {
        let directory = tempfile::tempdir().expect("a directory");
        let addresses = || Addresses::new(8, PeerConfig::default().shares(), 7);
        let (mut addresses, mut loaded) = (addresses(), addresses());
        addresses.insert("a:1", Origin::Added).expect("valid");
        addresses.insert("b:2", Origin::Hint).expect("valid");
        addresses.on_connected("b:2");
        let (file, writing) = AddressesFile::new(directory.path());
        file.save(&addresses);
        drop(file);
        writing.await;
        let path = directory.path().join(FILE_NAME);
        let text = fs::read_to_string(&path).expect("written");
        assert_eq!(text, "added a:1\nanchor b:2\n");
        fs::write(&path, format!("{text}rubbish\nadded nowhere\n")).expect("written");
        AddressesFile::new(directory.path()).0.load(&mut loaded);
        loaded.on_connected("b:2");
        assert!(loaded.to_keep().eq(addresses.to_keep()));
    }
}
