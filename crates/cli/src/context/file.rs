//! The file with the contexts.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use pentad_trust::TlsFiles;
use pentad_whole_file::{DEFAULT_MODE, replace};
use serde::{Deserialize, Serialize};

use crate::credentials::Credentials;
use crate::fault::Fault;
use crate::secret_file::create_directory;

/// The context that `devnet up` writes.
pub const DEVNET: &str = "devnet";
/// Largest file that is read: thousands of contexts.
const BYTES_MAX: u64 = 1 << 20;

const HEADER: &str = "# Written by `pentad context`; see `pentad context --help`.\n\n";

/// A network or a node, and the credential for it, under a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// Directory of a network on this machine; its network.json has the endpoints and credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<PathBuf>,
    /// Which of its nodes, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<u16>,
    /// gRPC address of one node, in place of a directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc: Option<String>,
    /// The cookie file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<PathBuf>,
    /// A token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// The authorities by which nodes are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_authority: Option<PathBuf>,
    /// The certificate to show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_certificate: Option<PathBuf>,
    /// Its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_key: Option<PathBuf>,
    /// The chain spec: which network it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain: Option<PathBuf>,
}

/// All contexts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contexts {
    /// The one that was chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    #[serde(default)]
    pub contexts: BTreeMap<String, Context>,
}

impl Context {
    /// The files that it names.
    pub fn credentials(&self) -> Credentials {
        Credentials {
            cookie: self.cookie.clone(),
            token_file: self.token_file.clone(),
            tls: TlsFiles {
                certificate: self.tls_certificate.clone(),
                key: self.tls_key.clone(),
                authority: self.tls_authority.clone(),
            },
        }
    }
}

impl Contexts {
    /// A context by its name.
    ///
    /// # Errors
    /// When there is none.
    pub fn get(&self, name: &str) -> Result<&Context, Fault> {
        self.contexts.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.contexts.keys().map(String::as_str).collect();
            let hint = match names.as_slice() {
                [] => "there are none yet; `pentad context set NAME` makes one".to_owned(),
                names => format!("these there are: {}", names.join(", ")),
            };
            Fault::usage(format!("there is no context {name:?}")).with_hint(hint)
        })
    }

    /// What is in the file at `path`; nothing when there is no file.
    ///
    /// # Errors
    /// When it cannot be read or is something else.
    pub fn read(path: &Path) -> Result<Self, Fault> {
        let refuse = |problem: String| {
            Fault::refused(format!("{}: {problem}", path.display()))
                .with_hint("mend the file or delete it; PENTAD_CONTEXTS names another one")
        };
        let text = match fs::metadata(path) {
            Ok(found) if found.len() > BYTES_MAX => {
                return Err(refuse(format!("larger than {BYTES_MAX} bytes")));
            }
            Ok(_) => fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(refuse(error.to_string())),
        };
        toml::from_str(&text).map_err(|error| refuse(error.to_string().trim_end().to_owned()))
    }

    /// Changes the file at `path`, one command after the other, and replaces it at once: a reader
    /// sees the old or the new one.
    ///
    /// # Errors
    /// What `change` says, or when the file cannot be read or written.
    pub fn change(
        path: &Path,
        change: impl FnOnce(&mut Self) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let directory = path.parent().unwrap_or_else(|| Path::new("."));
        create_directory(directory)?;
        let refuse = |error: io::Error| Fault::unwritable(path, error);
        // The lock goes with the handle.
        let lock = File::open(directory).map_err(refuse)?;
        lock.lock().map_err(refuse)?;
        let mut contexts = Self::read(path)?;
        let before = contexts.clone();
        change(&mut contexts)?;
        if contexts == before {
            return Ok(());
        }
        let text = toml::to_string(&contexts).map_err(|error| Fault::unwritable(path, error))?;
        replace(path, format!("{HEADER}{text}"), DEFAULT_MODE).map_err(refuse)
    }
}

/// Where the file is: `PENTAD_CONTEXTS`, or else below the user's folder of settings; `None`
/// without a home.
pub fn path() -> Option<PathBuf> {
    let of = |name: &str| std::env::var_os(name).filter(|it| !it.is_empty()).map(PathBuf::from);
    of("PENTAD_CONTEXTS").or_else(|| {
        let settings = of("XDG_CONFIG_HOME").or_else(|| Some(of("HOME")?.join(".config")))?;
        Some(settings.join("pentad/contexts.toml"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Exit;

    fn of_directory(path: &str) -> Context {
        Context { dir: Some(path.into()), ..Context::default() }
    }

    #[test]
    fn what_is_written_is_read() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("deep/contexts.toml");
        assert_eq!(Contexts::read(&path), Ok(Contexts::default()), "no file, no contexts");
        let far = Context {
            grpc: Some("ledger:1".to_owned()),
            cookie: Some("/c".into()),
            chain: Some("/chain.toml".into()),
            ..Context::default()
        };
        let add = |contexts: &mut Contexts| {
            contexts.contexts.insert("far".to_owned(), far.clone());
            contexts.contexts.insert(DEVNET.to_owned(), of_directory("/d"));
            contexts.current = Some("far".to_owned());
            Ok(())
        };
        Contexts::change(&path, add).expect("written");
        let read = Contexts::read(&path).expect("readable");
        assert_eq!(read.get("far"), Ok(&far));
        assert_eq!(read.current.as_deref(), Some("far"));
        let fault = read.get("fra").expect_err("no such");
        assert_eq!(fault.exit(), Exit::Usage);
        assert!(fault.to_text().contains("devnet, far"), "{}", fault.to_text());
        let names: Vec<_> =
            fs::read_dir(path.parent().expect("it has one")).expect("listed").collect();
        assert_eq!(names.len(), 1, "no draft is left");
    }

    #[test]
    fn a_file_that_is_none_is_named_and_kept() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("contexts.toml");
        for text in ["current = 1", "[contexts.a]\nprice = 1", "{"] {
            fs::write(&path, text).expect("written");
            let fault = Contexts::change(&path, |_| Ok(())).expect_err(text);
            assert!(fault.to_text().contains("contexts.toml"), "{}", fault.to_text());
            assert_eq!(fs::read_to_string(&path).expect("readable"), text);
        }
    }

    #[test]
    fn commands_at_the_same_time_lose_nothing() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("contexts.toml");
        std::thread::scope(|scope| {
            for number in 0..8 {
                let path = &path;
                scope.spawn(move || {
                    let add = |contexts: &mut Contexts| {
                        contexts.contexts.insert(format!("c{number}"), of_directory("/d"));
                        Ok(())
                    };
                    Contexts::change(path, add).expect("written");
                });
            }
        });
        assert_eq!(Contexts::read(&path).expect("readable").contexts.len(), 8);
    }
}
