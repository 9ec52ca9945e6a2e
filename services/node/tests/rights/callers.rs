//! A node under TLS, and callers of every kind.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use pentad_api::{Connection, status};
use pentad_ledger::ChainSpec;
use pentad_node::{NodeConfig, SERVICE, serve};
use pentad_service_kit::config::{self, Sources};
use pentad_service_kit::{App, Cookie, Settings as _, TlsFiles};
use pentad_trust::{Authority, Order, Right, Role, Tokens};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::ServiceExt as _;

const DAY_SECONDS: i64 = 86_400;
/// Longer than anything here takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a caller gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The method itself looks at the call.
    Served,
    /// The call goes no further than the layer of rights: code and reason.
    Refused(Code, String),
    /// There is no connection at all.
    NoHandshake,
}

/// A running node, and connections of callers by name.
pub struct Callers {
    connections: Vec<(String, Connection)>,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
    _dir: TempDir,
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_secs()).expect("before the end of time")
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("changed");
}

/// An organisation that makes certificates in a directory.
struct Organisation<'a> {
    dir: &'a Path,
    name: &'a str,
    authority: Authority,
}

impl<'a> Organisation<'a> {
    fn new(dir: &'a Path, name: &'a str) -> Self {
        let made = Authority::create("acme", 30, now()).expect("made");
        write(&dir.join(format!("{name}-authority.pem")), &made.certificate);
        let authority = Authority::from_pem(&made.certificate, &made.key).expect("its own");
        Self { dir, name, authority }
    }

    fn member(&self, role: Role, at: i64) -> TlsFiles {
        let hosts = vec!["localhost".to_owned()];
        let order = Order { name: role.to_string(), role, hosts, days: 1 };
        let issued = self.authority.issue(&order, at).expect("made");
        let path = |end: &str| self.dir.join(format!("{}-{role}-{at}.{end}", self.name));
        write(&path("pem"), &issued.certificate);
        write(&path("key"), &issued.key);
        TlsFiles {
            certificate: Some(path("pem")),
            key: Some(path("key")),
            authority: Some(self.dir.join("trusted.pem")),
        }
    }
}

/// Tokens of every kind, and the file in which they are known.
fn tokens(file: &Path) -> Vec<(String, String)> {
    let mut tokens = Tokens::default();
    let mut made = Vec::new();
    let mut make = |name: &str, rights: &[Right], at: i64| {
        let token = tokens.add(name, rights, 1, at).expect("made").token.to_string();
        made.push((format!("token {name}"), token));
    };
    for right in Right::OF_PEOPLE {
        make(right.name(), &[right], now());
    }
    make("expired", &Right::OF_PEOPLE, now() - DAY_SECONDS);
    make("revoked", &Right::OF_PEOPLE, now());
    tokens.revoke("revoked").expect("there");
    write(file, &tokens.to_toml().expect("TOML"));
    for (name, _) in &mut made {
        let plain = ["expired", "revoked"].into_iter().find(|kind| name.ends_with(kind));
        if let Some(kind) = plain {
            *name = format!("{kind} token");
        }
    }
    made.push(("unknown token".to_owned(), "pentad_".to_owned() + &"0".repeat(64)));
    made
}

fn node_config(dir: &Path, profile: &str, tls: &TlsFiles) -> NodeConfig {
    let time = u32::try_from(now()).expect("before 2106") - 60;
    let spec = ChainSpec::development("rights", time, Vec::new()).expect("a spec");
    fs::write(dir.join("chain.toml"), spec.to_toml()).expect("written");
    let path = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let tls_path = |file: &Option<PathBuf>| path(file.as_deref().expect("named"));
    let sources = Sources::default()
        .set("chain_spec", path(&dir.join("chain.toml")))
        .set("data_dir", path(&dir.join("data")))
        .set("peer.listen", "127.0.0.1:0")
        .set("server.grpc", "127.0.0.1:0")
        .set("server.profile", profile)
        .set("server.tokens_file", path(&dir.join("tokens.toml")))
        .set("tls.certificate", tls_path(&tls.certificate))
        .set("tls.key", tls_path(&tls.key))
        .set("tls.authority", tls_path(&tls.authority));
    config::load(&sources).expect("a configuration")
}

impl Callers {
    /// A node and all kinds of callers.
    pub async fn start(profile: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (acme, evil) =
            (Organisation::new(dir.path(), "acme"), Organisation::new(dir.path(), "evil"));
        let other = other_organisation(dir.path());
        let good = fs::read_to_string(dir.path().join("acme-authority.pem")).expect("there");
        write(&dir.path().join("trusted.pem"), &(good + &other.0));
        let tokens = tokens(&dir.path().join("tokens.toml"));
        let config = node_config(dir.path(), profile, &acme.member(Role::Node, now()));

        let shutdown = CancellationToken::new();
        let app = App::start(&SERVICE, &config, shutdown.clone()).await.expect("started");
        let address = format!("https://localhost:{}", app.addresses.grpc.port());
        let cookie = config.data_dir().join("cookie");
        let serving = tokio::spawn(async move { serve(config, app).await.expect("served") });

        let connect = |files: &TlsFiles| {
            let tls = files.load().expect("files of use");
            Connection::open(&address, tls.as_ref()).expect("an address")
        };
        let authority = Some(dir.path().join("trusted.pem"));
        let visitor = || connect(&TlsFiles { authority: authority.clone(), ..TlsFiles::default() });
        let with = |token: &str| visitor().with_credential(token).expect("a token");
        let mut connections = vec![
            ("nothing".to_owned(), visitor()),
            ("another authority".to_owned(), connect(&evil.member(Role::Operator, now()))),
            (
                "an expired certificate".to_owned(),
                connect(&acme.member(Role::Operator, now() - 2 * DAY_SECONDS)),
            ),
            ("another organisation".to_owned(), connect(&other.1)),
            ("the cookie".to_owned(), with(Cookie::load(&cookie).expect("made").reveal())),
        ];
        connections.extend(tokens.iter().map(|(name, token)| (name.clone(), with(token))));
        let roles = Role::ALL.into_iter();
        connections.extend(
            roles.map(|role| (format!("role {role}"), connect(&acme.member(role, now() - 1)))),
        );
        Self { connections, shutdown, serving, _dir: dir }
    }

    /// By name.
    pub fn all(&self) -> &[(String, Connection)] {
        &self.connections
    }

    /// Ends the node and waits for it.
    pub async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.serving).await.expect("it ends").expect("no panic");
    }
}

/// An operator of another organisation, whose authority is known here.
fn other_organisation(dir: &Path) -> (String, TlsFiles) {
    let made = Authority::create("other", 30, now()).expect("made");
    let authority = Authority::from_pem(&made.certificate, &made.key).expect("its own");
    let other = Organisation { dir, name: "other", authority };
    (made.certificate.clone(), other.member(Role::Operator, now()))
}

/// Calls a method with a message that no method can read, so that nothing happens where the call
/// gets through.
pub async fn ask(connection: &Connection, path: &str) -> Answer {
    // Compressed, it says, and not how.
    let unreadable = Body::new(Full::new(Bytes::from_static(&[1, 0, 0, 0, 0])));
    let request = Request::post(path)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(unreadable)
        .expect("a request");
    let answer = tokio::time::timeout(PATIENCE, connection.clone().oneshot(request)).await;
    let Ok(response) = answer.expect("it takes too long") else {
        return Answer::NoHandshake;
    };
    // Without a status in the head there is a body: the method has begun to answer.
    let Some(status) = Status::from_header_map(response.headers()) else {
        return Answer::Served;
    };
    match status.code() {
        Code::Unauthenticated | Code::PermissionDenied => {
            Answer::Refused(status.code(), status::explain(&status).reason)
        }
        Code::Unimplemented | Code::Unavailable | Code::ResourceExhausted => {
            panic!("{path}: {status:?}")
        }
        _ => Answer::Served,
    }
}
