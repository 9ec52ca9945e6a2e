//! Attack 56 on a real process: what its memory, its environment, its log and its core dump tell.

use std::fs::{self, File};
use std::io::{self, BufRead as _};
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use pentad_api::Connection;
use pentad_api::wallet::v1::keystore_service_client::KeystoreServiceClient;
use pentad_api::wallet::v1::{LockWalletRequest, ShowWordsRequest, UnlockWalletRequest};
use pentad_keystore::{Issued, KdfCost, Keystore, Passphrase, Words, wallets_directory};
use pentad_service_kit::Cookie;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const CHEAP: KdfCost = KdfCost { memory_kib: 8, passes: 1, lanes: 1 };
const PASSPHRASE: &str = "correct-horse-battery-staple-57";
/// Longest that a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(60);
/// Memory is read in pieces of so many bytes.
const PIECE: usize = 1 << 20;

/// `pentad-wallet`, with a wallet `alice` of words that are known here.
struct Service {
    process: Child,
    directory: TempDir,
    words: String,
    /// The private key of the account, as it is in memory: the least significant byte first.
    account_key: Vec<u8>,
    entropy: Vec<u8>,
    seed: Vec<u8>,
}

impl Service {
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut entropy = [0; 16];
        getrandom::fill(&mut entropy).expect("entropy");
        let words = pentad_crypto::hd::mnemonic_from_entropy(&entropy).expect("16 bytes");
        let keystore = Keystore::open(wallets_directory(directory.path()), CHEAP, None);
        let passphrase = Passphrase::new(PASSPHRASE.to_owned()).expect("valid");
        let issued = Issued { receive: 1, change: 0 };
        keystore
            .expect("opens")
            .restore(
                &"alice".parse().expect("a name"),
                &Words::parse(&words).expect("words"),
                issued,
                Some(&passphrase),
            )
            .expect("there is a passphrase")
            .expect("made");
        let seed = pentad_crypto::hd::seed(&entropy, "").expect("16 bytes").to_vec();
        let log = File::create(directory.path().join("log")).expect("writable");
        // As on a machine where all may dump their cores.
        let process = Command::new("sh")
            .args(["-c", "ulimit -c unlimited 2> /dev/null; exec \"$0\" \"$@\""])
            .arg(env!("CARGO_BIN_EXE_pentad-wallet"))
            .arg("--data")
            .arg(directory.path())
            .args(["--grpc", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--log-format", "json"])
            .env("RUST_LOG", "trace")
            .current_dir(directory.path())
            .stdout(log.try_clone().expect("a handle"))
            .stderr(log)
            .spawn()
            .expect("starts");
        Self {
            process,
            directory,
            words: words.to_string(),
            account_key: account_key(&seed),
            entropy: entropy.to_vec(),
            seed,
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).expect("readable")
    }

    /// Where it listens, once it says so.
    async fn client(&self) -> KeystoreServiceClient<Connection> {
        let deadline = Instant::now() + PATIENCE;
        let address = loop {
            let log = self.log();
            let line = log.lines().find(|line| line.contains("\"listening\""));
            let line: Option<serde_json::Value> =
                line.and_then(|line| serde_json::from_str(line).ok());
            let found = line.as_ref().and_then(|line| find(line, "grpc"));
            if let Some(address) = found {
                break address;
            }
            assert!(Instant::now() < deadline, "never listens:\n{log}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let cookie = Cookie::load(&self.directory.path().join("cookie")).expect("made");
        let connection = Connection::lazy(&format!("http://{address}")).expect("an address");
        KeystoreServiceClient::new(connection.with_credential(cookie.reveal()).expect("hex"))
    }

    /// How often each of `secrets` is in the memory that the process can write.
    fn count(&self, secrets: &[&[u8]]) -> Vec<usize> {
        count(self.process.id(), secrets).expect("a child's memory can be read")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.process.kill().ok();
        self.process.wait().expect("it was started");
    }
}

fn find(value: &serde_json::Value, name: &str) -> Option<String> {
    let fields = value.as_object()?;
    let own = fields.get(name).and_then(|it| it.as_str()).map(str::to_owned);
    own.or_else(|| fields.values().find_map(|value| find(value, name)))
}

fn account_key(seed: &[u8]) -> Vec<u8> {
    use bitcoin::bip32::{DerivationPath, Xpriv};
    let path: DerivationPath = "m/44'/1'/0'".parse().expect("a path");
    let master = Xpriv::new_master(bitcoin::NetworkKind::Main, seed).expect("a key");
    let account = master.derive_priv(&bitcoin::secp256k1::Secp256k1::new(), &path).expect("a key");
    let mut key = account.private_key.secret_bytes().to_vec();
    key.reverse();
    key
}

fn count(process: u32, secrets: &[&[u8]]) -> io::Result<Vec<usize>> {
    let maps = PathBuf::from(format!("/proc/{process}/maps"));
    let memory = File::open(format!("/proc/{process}/mem"))?;
    let mut counts = vec![0; secrets.len()];
    let longest = secrets.iter().map(|secret| secret.len()).max().unwrap_or(0);
    for line in io::BufReader::new(File::open(maps)?).lines() {
        let line = line?;
        let mut parts = line.split_whitespace();
        let (Some(range), Some(mode)) = (parts.next(), parts.next()) else { continue };
        let ends = range.split_once('-').and_then(|(start, end)| {
            Some((u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?))
        });
        let (Some((start, end)), true) = (ends, mode.starts_with("rw")) else { continue };
        let mut at = start;
        let mut piece = vec![0; PIECE + longest];
        while at < end {
            let wanted = piece.len().min(usize::try_from(end - at).expect("64 bits"));
            // What is gone by now, or is no memory, tells nothing.
            let read = memory.read_at(&mut piece[..wanted], at).unwrap_or(0);
            for (secret, count) in secrets.iter().zip(&mut counts) {
                *count += occurrences(&piece[..read], secret, PIECE);
            }
            at += PIECE as u64;
        }
    }
    Ok(counts)
}

/// Those that begin before `end`.
fn occurrences(bytes: &[u8], secret: &[u8], end: usize) -> usize {
    let (mut found, mut at) = (0, 0);
    while let Some(next) =
        bytes.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == secret[0]))
    {
        at += next;
        if at >= end {
            break;
        }
        found += usize::from(bytes[at..].starts_with(secret));
        at += 1;
    }
    found
}

/// The words of the wallet, as its owner is shown them.
async fn shown(client: &mut KeystoreServiceClient<Connection>) -> String {
    let (wallet, passphrase) = ("alice".to_owned(), PASSPHRASE.to_owned());
    let request = ShowWordsRequest { wallet, passphrase };
    client.show_words(request).await.expect("shown").into_inner().words
}

fn unlock() -> UnlockWalletRequest {
    let (wallet, passphrase) = ("alice".to_owned(), PASSPHRASE.to_owned());
    UnlockWalletRequest { wallet, passphrase, seconds: 0 }
}

/// What callers gave and were shown went through buffers of the transport: these are wiped when
/// they are freed, at the latest when the connection has ended.
#[tokio::test]
async fn attack_56_what_callers_gave_and_were_shown_is_wiped() {
    let service = Service::start().await;
    let secrets: [&[u8]; 2] = [PASSPHRASE.as_bytes(), service.words.as_bytes()];
    {
        let mut client = service.client().await;
        client.unlock_wallet(unlock()).await.expect("opens");
        assert_eq!(shown(&mut client).await, service.words);
        client.lock_wallet(LockWalletRequest { wallet: "alice".to_owned() }).await.expect("locked");
    }
    let deadline = Instant::now() + PATIENCE;
    while service.count(&secrets) != [0; 2] {
        let found = service.count(&secrets);
        assert!(Instant::now() < deadline, "passphrase and words are there: {found:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What was opened is wiped.
#[tokio::test]
async fn attack_56_no_key_is_in_the_memory_of_a_locked_wallet() {
    let service = Service::start().await;
    let mut client = service.client().await;
    let secrets: [&[u8]; 4] =
        [&service.account_key, &service.entropy, &service.seed, service.words.as_bytes()];
    assert_eq!(service.count(&secrets), [0; 4], "before anything is opened");
    client.unlock_wallet(unlock()).await.expect("opens");
    // The search finds what is there: the one key that signs, and nothing that it was made of.
    assert_eq!(service.count(&secrets), [1, 0, 0, 0], "while it is open");
    client.lock_wallet(LockWalletRequest { wallet: "alice".to_owned() }).await.expect("locked");
    assert_eq!(service.count(&secrets), [0; 4], "after it was locked");
}

#[tokio::test]
async fn attack_56_no_secret_is_in_the_environment_or_the_log() {
    let service = Service::start().await;
    let mut client = service.client().await;
    client.unlock_wallet(unlock()).await.expect("opens");
    assert_eq!(shown(&mut client).await, service.words);
    let folder = PathBuf::from(format!("/proc/{}", service.process.id()));
    for name in ["environ", "cmdline"] {
        let text = fs::read(folder.join(name)).expect("a child's");
        assert!(!text.is_empty());
        assert_eq!(occurrences(&text, PASSPHRASE.as_bytes(), text.len()), 0, "{name}");
    }
    let log = service.log();
    assert!(log.contains("its words are asked for"), "{log}");
    for secret in [PASSPHRASE, &service.words, &hex::encode(&service.entropy)] {
        assert!(!log.contains(secret));
    }
}

#[tokio::test]
async fn attack_56_a_crash_dumps_no_core() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let shell = |script: &str| {
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("ulimit -c unlimited 2> /dev/null; {script}")])
            .current_dir(&folder);
        command
    };
    let dumped = |mut process: Child| {
        kill_process(Pid::from_child(&process), Signal::ABORT).expect("a child");
        process.wait().expect("it was started").core_dumped()
    };
    // Another program does, on the same machine: else there would be nothing to see.
    let other = shell("exec sleep 60").spawn().expect("starts");
    let deadline = Instant::now() + PATIENCE;
    while fs::read(format!("/proc/{}/comm", other.id())).expect("a child's") != b"sleep\n" {
        assert!(Instant::now() < deadline, "sleep never runs");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    if !dumped(other) {
        println!("skipped: this machine dumps no cores");
        return;
    }
    let mut service = Service::start().await;
    let mut client = service.client().await;
    client.unlock_wallet(unlock()).await.expect("opens");
    kill_process(Pid::from_child(&service.process), Signal::ABORT).expect("a child");
    let status = service.process.wait().expect("it was started");
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()));
    assert!(!status.core_dumped());
    let names = fs::read_dir(service.directory.path()).expect("readable");
    let names: Vec<_> = names.map(|entry| entry.expect("readable").file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().starts_with("core")), "{names:?}");
}
