//! Five processes that make one node.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use pentad_api::Connection;
use pentad_bench::process::{Process, free_addresses, text, write_secret};
use pentad_bench::validators;
use pentad_trust::{Authority, Issued, Order, Role, Tls, TlsFiles};

/// Days that a certificate of a measurement holds.
const DAYS: u32 = 1;

/// An authority, and the folder of the certificates that it has made.
pub(crate) struct Certificates {
    authority: Authority,
    directory: PathBuf,
}

impl Certificates {
    pub(crate) fn create(directory: &Path) -> Self {
        let Issued { certificate, key } =
            Authority::create("bench", DAYS, now()).expect("an authority");
        let directory = directory.join("certificates");
        fs::create_dir_all(&directory).expect("writable");
        fs::write(directory.join("authority.pem"), &certificate).expect("writable");
        let authority = Authority::from_pem(&certificate, &key).expect("what was made");
        Self { authority, directory }
    }

    /// A new certificate for a role on this machine.
    pub(crate) fn issue(&self, role: Role) -> Certified {
        let hosts = vec!["127.0.0.1".to_owned()];
        let order = Order { name: role.name().to_owned(), role, hosts, days: DAYS };
        let issued = self.authority.issue(&order, now()).expect("a certificate");
        let file = |kind: &str| self.directory.join(format!("{role}.{kind}"));
        let (certificate, key) = (file("pem"), file("key"));
        fs::write(&certificate, issued.certificate).expect("writable");
        write_secret(&key, &issued.key);
        let authority = self.directory.join("authority.pem");
        let (certificate, key, authority) = (Some(certificate), Some(key), Some(authority));
        let files = TlsFiles { certificate, key, authority };
        let tls = files.load().expect("what was made").expect("files");
        Certified { files, tls }
    }
}

/// Somebody who has a certificate.
pub(crate) struct Certified {
    files: TlsFiles,
    tls: Tls,
}

impl Certified {
    /// A connection of its own that shows it.
    pub(crate) fn connection(&self, address: &str) -> Connection {
        Connection::open(&format!("https://{address}"), Some(&self.tls)).expect("an address")
    }

    /// The flags by which a process shows it.
    pub(crate) fn flags(&self) -> Vec<String> {
        let TlsFiles { certificate, key, authority } = &self.files;
        let files = [("certificate", certificate), ("key", key), ("authority", authority)];
        let flags = files.into_iter().filter_map(|(name, file)| {
            Some([format!("--tls-{name}"), text(file.as_deref()?).to_owned()])
        });
        flags.flatten().collect()
    }
}

/// A validator's node, the first of its network.
pub(crate) struct Site {
    pub(crate) services: Vec<(Role, Process)>,
    /// Where other nodes reach it.
    pub(crate) p2p: String,
    pub(crate) operator: Certified,
    addresses: [String; 5],
}

const ROLES: [Role; 5] = [Role::Chain, Role::Wallet, Role::Miner, Role::Consensus, Role::Peer];

impl Site {
    /// Starts all five for a chain spec, below a directory.
    pub(crate) fn start(directory: &Path, spec: &Path) -> Self {
        let certificates = Certificates::create(directory);
        let data = directory.join("site");
        let key = validators::write_key(0, &data);
        let passphrase = data.join("passphrase");
        write_secret(&passphrase, "open sesame\n");
        // All in one go: a port that was let go may be picked again.
        let [p2p, chain, wallet, miner, consensus, peer, metrics @ ..] = free_addresses::<11>();
        let addresses = [chain, wallet, miner, consensus, peer];
        let [chain, wallet, _, _, peer] = &addresses;
        let setting = |key: &str, value: &str| ["--set".to_owned(), format!("{key}={value}")];
        let to_chain = setting("chain.address", &format!("https://{chain}"));
        let to_wallet = setting("wallet.address", &format!("https://{wallet}"));
        let to_peer = setting("peer.address", &format!("https://{peer}"));
        let passphrase = setting("wallet.passphrase_file", text(&passphrase));
        let spec = ["--chain".to_owned(), text(spec).to_owned()];
        let key = ["--validator-key".to_owned(), text(&key).to_owned()];
        let listen = ["--p2p".to_owned(), p2p.clone()];
        let services = ROLES.into_iter().zip(addresses.iter().zip(&metrics));
        let services = services.map(|(role, (address, metrics))| {
            let flags: Vec<[String; 2]> = match role {
                Role::Chain => vec![spec.clone()],
                Role::Wallet => vec![to_chain.clone(), passphrase.clone()],
                Role::Miner => vec![to_chain.clone(), to_wallet.clone()],
                Role::Consensus => {
                    vec![to_chain.clone(), to_peer.clone(), spec.clone(), key.clone()]
                }
                _ => vec![to_chain.clone(), listen.clone()],
            };
            let certified = certificates.issue(role);
            let flags = certified.flags().into_iter().chain(flags.into_iter().flatten());
            (role, start(role, &data, [address, metrics], flags))
        });
        let services = services.collect();
        Self { services, p2p, operator: certificates.issue(Role::Operator), addresses }
    }

    /// Where a service takes calls.
    pub(crate) fn address(&self, role: Role) -> String {
        let at = ROLES.iter().position(|other| *other == role).expect("one of five");
        self.addresses[at].clone()
    }
}

/// Starts the service of a role below a directory; it takes calls and shows its metrics there.
pub(crate) fn start(
    role: Role,
    directory: &Path,
    [address, metrics]: [&str; 2],
    flags: impl IntoIterator<Item = String>,
) -> Process {
    let data = directory.join(role.name());
    fs::create_dir_all(&data).expect("writable");
    let own = ["--data", text(&data), "--grpc", address, "--metrics", metrics];
    let arguments = own.map(str::to_owned).into_iter().chain(flags);
    Process::spawn(&format!("pentad-{role}"), arguments, &data.join("log"))
}

fn now() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).expect("later than 1970");
    i64::try_from(elapsed.as_secs()).expect("within range")
}
