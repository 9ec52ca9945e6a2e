//! What a command shows a node, and what it knows the node by.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use pentad_api::{Connection, ConnectionError};
use pentad_network_file::NodeEntry;
use pentad_trust::TlsFiles;

use crate::args::Globals;
use crate::fault::Fault;

/// What a node is made of.
const SERVICES: [&str; 5] = ["wallet", "chain", "miner", "consensus", "peer"];

/// Files, as far as they are named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The node's cookie.
    pub cookie: Option<PathBuf>,
    /// A token, which goes before the cookie.
    pub token_file: Option<PathBuf>,
    /// With an authority in it, calls go over TLS.
    pub tls: TlsFiles,
}

impl Credentials {
    /// What the flags and the environment name.
    pub fn of(globals: &Globals) -> Self {
        Self {
            cookie: globals.cookie.clone(),
            token_file: globals.token_file.clone(),
            tls: TlsFiles {
                certificate: globals.tls_certificate.clone(),
                key: globals.tls_key.clone(),
                authority: globals.tls_authority.clone(),
            },
        }
    }

    /// The same, with what is not named taken from `other`.
    #[must_use]
    pub fn or(self, other: &Self) -> Self {
        let or = |one: Option<PathBuf>, other: &Option<PathBuf>| one.or_else(|| other.clone());
        Self {
            cookie: or(self.cookie, &other.cookie),
            token_file: or(self.token_file, &other.token_file),
            tls: TlsFiles {
                certificate: or(self.tls.certificate, &other.tls.certificate),
                key: or(self.tls.key, &other.tls.key),
                authority: or(self.tls.authority, &other.tls.authority),
            },
        }
    }

    /// For a node of this machine: its own cookie, unless something else is to be shown, and the
    /// authorities that it names.
    #[must_use]
    pub fn for_node(&self, node: &NodeEntry) -> Self {
        let shows_other = self.token_file.is_some() || self.tls.certificate.is_some();
        let cookie = (!shows_other).then(|| node.cookie.clone());
        let tls = TlsFiles { authority: node.authority.clone(), ..TlsFiles::default() };
        self.clone().or(&Self { cookie, token_file: None, tls })
    }

    /// A connection that opens with its first call: to one address, or, for a node whose services
    /// run each alone, to `wallet=HOST:PORT,chain=HOST:PORT,…`.
    ///
    /// # Errors
    /// When the address is none, or a file cannot be used.
    pub fn connect(&self, address: &str) -> Result<Connection, Fault> {
        if !address.contains('=') {
            return self.connect_one(address);
        }
        let parts = address.split(',').map(|part| {
            let (service, address) = part.split_once('=').unwrap_or((part, ""));
            if !SERVICES.contains(&service) {
                let text = format!("{part:?} does not begin with one of {}", SERVICES.join("=, "));
                return Err(Fault::usage(format!("{text}=")));
            }
            Ok((service.to_owned(), self.connect_one(address)?))
        });
        Ok(Connection::by_service(parts.collect::<Result<_, Fault>>()?))
    }

    fn connect_one(&self, address: &str) -> Result<Connection, Fault> {
        let tls = self.tls.load().map_err(|error| Fault::denied(error.to_string()))?;
        let has_authority = self.tls.authority.is_some();
        let uri = match (address.contains("://"), has_authority) {
            (true, _) => address.to_owned(),
            (false, true) => format!("https://{address}"),
            (false, false) => format!("http://{address}"),
        };
        let connection = Connection::open(&uri, tls.as_ref()).map_err(|error| match error {
            ConnectionError::NoAuthority { .. } => {
                Fault::usage(format!("{address} asks for TLS, and no authority is known"))
                    .with_hint("--tls-authority names the file with its authority")
            }
            _ => Fault::usage(format!("{address:?} is no address of the form HOST:PORT")),
        })?;
        let shown = match (&self.token_file, &self.cookie) {
            (Some(path), _) => Some(("token", path, "`pentad certs token` makes one")),
            (None, Some(path)) => Some(("cookie", path, "a node makes it when it starts")),
            (None, None) => None,
        };
        let Some((kind, path, hint)) = shown else {
            return Ok(connection);
        };
        let line = read_line(kind, path, hint)?;
        connection.with_credential(line.trim()).map_err(|_| {
            Fault::denied(format!("{kind} file {} does not hold a {kind}", path.display()))
        })
    }
}

fn read_line(kind: &str, path: &Path, hint: &str) -> Result<String, Fault> {
    fs::read_to_string(path).map_err(|error| {
        let fault = Fault::denied(format!("cannot read {kind} file {}: {error}", path.display()));
        match error.kind() {
            io::ErrorKind::NotFound => fault.with_hint(hint),
            _ => fault,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn services_that_run_alone_are_named() {
        for address in ["127.0.0.1:9999", "wallet=127.0.0.1:9991,chain=localhost:9992"] {
            Credentials::default().connect(address).expect(address);
        }
        for (address, said) in [
            ("wallet=127.0.0.1:9991,127.0.0.1:9992", "\"127.0.0.1:9992\" does not begin with"),
            ("purse=127.0.0.1:9991", "wallet=, chain="),
            ("wallet=", "\"\" is no address"),
        ] {
            let text = Credentials::default().connect(address).expect_err(address).to_text();
            assert!(text.contains(said), "{address}: {text}");
        }
    }
}
