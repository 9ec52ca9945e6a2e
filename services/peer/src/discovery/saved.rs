//! The file that carries contacts over a restart.
//!
//! A line of format and version, then a line for each contact: its id in hex, a space, its
//! endpoint. It is a hint for the next start, not a truth: what is damaged is left out.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use pentad_whole_file::{DEFAULT_MODE, replace};
use pentad_wire::kademlia::{Contact, NodeId};
use tracing::{debug, warn};

const HEADER: &str = "pentad contacts 1";
/// Contacts written and read; the file stays below 64 KiB.
const CONTACTS_MAX: usize = 512;
const BYTES_MAX: u64 = 64 << 10;

#[derive(Debug)]
pub(super) struct ContactsFile {
    path: PathBuf,
    /// What the file holds, as far as we know.
    written: Vec<Contact>,
}

impl ContactsFile {
    pub fn new(path: PathBuf) -> Self {
        Self { path, written: Vec::new() }
    }

    /// The contacts in the file; none if it cannot be read, since the network is found without
    /// them too.
    pub fn load(&self) -> Vec<Contact> {
        match read(&self.path) {
            Ok(text) => {
                let contacts = parse(&text);
                debug!(contacts = contacts.len(), path = %self.path.display(), "contacts loaded");
                contacts
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                warn!(path = %self.path.display(), %error, "contacts cannot be read");
                Vec::new()
            }
        }
    }

    /// Replaces the file, unless nothing has changed or there is nobody to remember: contacts of
    /// better times are more use than none.
    pub async fn save(&mut self, mut contacts: Vec<Contact>) {
        contacts.truncate(CONTACTS_MAX);
        contacts.sort_unstable();
        if contacts.is_empty() || contacts == self.written {
            return;
        }
        let (path, text) = (self.path.clone(), format(&contacts));
        let written = tokio::task::spawn_blocking(move || replace(&path, text, DEFAULT_MODE)).await;
        match written.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(()) => self.written = contacts,
            Err(error) => warn!(path = %self.path.display(), %error, "contacts were not saved"),
        }
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

fn format(contacts: &[Contact]) -> String {
    let mut text = format!("{HEADER}\n");
    for contact in contacts {
        text.push_str(&format!("{} {}\n", contact.id, contact.endpoint));
    }
    text
}

fn parse(text: &str) -> Vec<Contact> {
    let mut lines = text.lines();
    if lines.next() != Some(HEADER) {
        return Vec::new();
    }
    lines.take(CONTACTS_MAX).filter_map(parse_contact).collect()
}

fn parse_contact(line: &str) -> Option<Contact> {
    let (id, endpoint) = line.split_once(' ')?;
    Some(Contact { id: id.parse::<NodeId>().ok()?, endpoint: endpoint.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contact(byte: u8) -> Contact {
        Contact { id: NodeId::from_bytes([byte; 20]), endpoint: ([127, 0, 0, byte], 5678).into() }
    }

    #[tokio::test]
    async fn contacts_survive_a_restart() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("contacts");
        let mut file = ContactsFile::new(path.clone());
        assert_eq!(file.load(), []);
        file.save(vec![contact(2), contact(1)]).await;
        assert_eq!(ContactsFile::new(path.clone()).load(), [contact(1), contact(2)]);
        file.save(vec![]).await;
        assert_eq!(ContactsFile::new(path).load().len(), 2, "nobody does not replace somebody");
    }

    #[test]
    fn damaged_lines_are_left_out() {
        let good = format(&[contact(1)]);
        assert_eq!(parse(&good), [contact(1)]);
        assert_eq!(parse(&format!("{good}x y\n\nz\n")), [contact(1)]);
        assert_eq!(parse(&good.replace("contacts 1", "contacts 2")), []);
        assert_eq!(parse(&good[..good.len() - 20]), []);
    }
}
