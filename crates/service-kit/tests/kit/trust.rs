//! Attack 52 over TLS: certificates of every kind, tokens of every kind, and files that change
//! while calls go on.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pentad_api::{Connection, status};
use pentad_service_kit::{Limits, TlsFiles};
use pentad_trust::{Authority, HandshakeError, Issued, Order, Right, Role, Tokens};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::echo::{SAY, call, listen, listen_with, say};
use crate::rig::{Plan, Rig, now, soon, until};

/// At once: somebody may be looking.
fn write(path: &Path, text: &str) {
    let new = path.with_added_extension("new");
    fs::write(&new, text).expect("written");
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).expect("changed");
    fs::rename(new, path).expect("replaced");
}

/// An organisation with an authority, and a directory for its files.
pub struct Organisation {
    dir: TempDir,
    authority: Authority,
}

impl Organisation {
    pub fn new(name: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let made = Authority::create(name, 30, now()).expect("made");
        let authority = Authority::from_pem(&made.certificate, &made.key).expect("its own");
        let organisation = Self { dir, authority };
        write(&organisation.authority_file(), &made.certificate);
        organisation
    }

    fn authority_file(&self) -> PathBuf {
        self.dir.path().join("authority.pem")
    }

    fn issue(&self, name: &str, role: Role, at: i64) -> Issued {
        let hosts = ["localhost", "127.0.0.1"].map(str::to_owned).to_vec();
        let order = Order { name: name.to_owned(), role, hosts, days: 1 };
        self.authority.issue(&order, at).expect("made")
    }

    /// Files with a certificate for `role`.
    pub fn member(&self, role: Role) -> TlsFiles {
        self.member_since(role, now())
    }

    fn member_since(&self, role: Role, at: i64) -> TlsFiles {
        self.put(&format!("{role}-{at}"), &self.issue(role.name(), role, at))
    }

    fn put(&self, name: &str, issued: &Issued) -> TlsFiles {
        let path = |end: &str| self.dir.path().join(format!("{name}.{end}"));
        write(&path("key"), &issued.key);
        write(&path("pem"), &issued.certificate);
        TlsFiles {
            certificate: Some(path("pem")),
            key: Some(path("key")),
            authority: Some(self.authority_file()),
        }
    }

    /// Files of somebody who has no certificate.
    fn visitor(&self) -> TlsFiles {
        TlsFiles { authority: Some(self.authority_file()), ..TlsFiles::default() }
    }

    /// Takes the certificates of `other` for good as well.
    fn trust(&self, other: &Self) {
        let own = fs::read_to_string(self.authority_file()).expect("there");
        let other = fs::read_to_string(other.authority_file()).expect("there");
        write(&self.authority_file(), &format!("{own}{other}"));
    }

    async fn serve(&self) -> Rig {
        self.serve_with(Plan::default()).await
    }

    async fn serve_with(&self, plan: Plan) -> Rig {
        Rig::with(Plan { tls: self.member(Role::Chain), ..plan }).await
    }
}

async fn healthy(connection: Connection) -> Result<(), Status> {
    let whole = HealthCheckRequest { service: String::new() };
    HealthClient::new(connection).check(whole).await.map(drop)
}

/// Code and reason of a refusal.
async fn refused(connection: &Connection) -> (Code, String) {
    let status = soon(say(connection, SAY, "")).await.expect_err("refused");
    (status.code(), status::explain(&status).reason)
}

#[tokio::test]
async fn a_role_decides_what_its_certificate_may_call() {
    let acme = Organisation::new("acme");
    let rig = acme.serve().await;
    for role in Role::ALL {
        let connection = rig.tls(&acme.member(role));
        soon(healthy(connection.clone())).await.expect("health is open");
        // `SAY` asks for the right to spend, `COUNT` for that to read.
        match role {
            Role::Operator | Role::Application => {
                assert_eq!(soon(say(&connection, SAY, "hello")).await.expect("served"), "hello");
            }
            _ => assert_eq!(
                refused(&connection).await,
                (Code::PermissionDenied, "WRONG_ROLE".into())
            ),
        }
        let listens = soon(listen(&connection)).await.is_ok();
        let is_person = matches!(role, Role::Operator | Role::Application | Role::Reader);
        assert_eq!(listens, is_person, "{role}");
    }
    let visitor = rig.tls(&acme.visitor());
    soon(healthy(visitor.clone())).await.expect("health is open");
    assert_eq!(refused(&visitor).await, (Code::Unauthenticated, "NO_CREDENTIAL".into()));
    rig.stop().await;
}

#[tokio::test]
async fn a_wrong_authority_fails_the_handshake_on_either_side() {
    let (acme, evil) = (Organisation::new("acme"), Organisation::new("acme"));
    let rig = acme.serve().await;
    let stranger =
        TlsFiles { authority: Some(acme.authority_file()), ..evil.member(Role::Operator) };
    soon(healthy(rig.tls(&stranger))).await.expect_err("the server does not know it");
    soon(healthy(rig.tls(&evil.visitor()))).await.expect_err("it does not know the server");
    until("both are counted", async || {
        let page = rig.metrics.encode().expect("text");
        page.contains("pentad_tls_handshakes_failed_total 2")
    })
    .await;
    soon(healthy(rig.tls(&acme.visitor()))).await.expect("others are served");
    rig.stop().await;
}

#[tokio::test]
async fn a_caller_hears_why_a_handshake_failed() {
    let (acme, evil) = (Organisation::new("acme"), Organisation::new("acme"));
    let expired = |role| acme.member_since(role, now() - 2 * 86_400);
    let elsewhere = Order {
        name: "elsewhere".to_owned(),
        role: Role::Chain,
        hosts: vec!["elsewhere".to_owned()],
        days: 1,
    };
    let elsewhere = acme.put("elsewhere", &acme.authority.issue(&elsewhere, now()).expect("made"));
    let good = acme.member(Role::Chain);
    for (server, caller, error) in [
        (&good, &evil.visitor(), HandshakeError::UnknownAuthority),
        (&good, &expired(Role::Operator), HandshakeError::Refused),
        (&expired(Role::Chain), &acme.visitor(), HandshakeError::Expired),
        (&elsewhere, &acme.visitor(), HandshakeError::OtherHost("localhost".to_owned())),
        (&TlsFiles::default(), &acme.visitor(), HandshakeError::NoTls),
    ] {
        let rig = Rig::with(Plan { tls: server.clone(), ..Plan::default() }).await;
        // On a busy machine the reason may come later than a caller waits for it.
        let mut heard = None;
        until("a reason is heard", async || {
            let status = soon(healthy(rig.tls(caller))).await.expect_err("no connection");
            assert_eq!(status.code(), Code::Unavailable, "{status:?}");
            heard = HandshakeError::among(&status);
            heard.is_some()
        })
        .await;
        assert_eq!(heard, Some(error));
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_certificate_that_expires_ends_with_its_connection_open() {
    let acme = Organisation::new("acme");
    let rig = acme.serve().await;
    // Of one day, all but three seconds of which are over.
    let connection = rig.tls(&acme.member_since(Role::Operator, now() - 86_400 + 3));
    soon(say(&connection, SAY, "")).await.expect("good so far");
    until("it is over", async || say(&connection, SAY, "").await.is_err()).await;
    assert_eq!(refused(&connection).await, (Code::Unauthenticated, "STALE_CERTIFICATE".into()));
    rig.stop().await;
}

#[tokio::test]
async fn another_organisation_may_nothing_although_its_authority_is_known() {
    let (acme, other) = (Organisation::new("acme"), Organisation::new("other"));
    acme.trust(&other);
    let rig = acme.serve().await;
    let guest = TlsFiles { authority: Some(acme.authority_file()), ..other.member(Role::Operator) };
    let connection = rig.tls(&guest);
    soon(healthy(connection.clone())).await.expect("health is open");
    assert_eq!(refused(&connection).await, (Code::PermissionDenied, "OTHER_ORGANISATION".into()));
    rig.stop().await;
}

#[tokio::test]
async fn without_tls_nobody_gets_through_to_a_tls_port() {
    let acme = Organisation::new("acme");
    let limits = Limits { handshake_time_max: Duration::from_millis(100), ..Limits::default() };
    let rig = acme.serve_with(Plan { limits, ..Plan::default() }).await;
    soon(healthy(rig.stranger())).await.expect_err("HTTP/2 in the clear");
    let mut silent = TcpStream::connect(rig.address).await.expect("accepted");
    let mut garbage = TcpStream::connect(rig.address).await.expect("accepted");
    garbage.write_all(&[0x55; 4096]).await.expect("written");
    // The record of a hello that promises more than ever comes, a byte at a time.
    let mut slow = TcpStream::connect(rig.address).await.expect("accepted");
    slow.write_all(&[0x16, 0x03, 0x01, 0x40]).await.expect("written");
    for stream in [&mut silent, &mut garbage, &mut slow] {
        let mut rest = Vec::new();
        // Perhaps an alert, and then the end.
        soon(stream.read_to_end(&mut rest)).await.ok();
        assert!(rest.len() < 16, "{rest:?}");
    }
    soon(healthy(rig.tls(&acme.visitor()))).await.expect("others are served");
    rig.stop().await;
}

/// A call with a token, or whatever else goes for one.
async fn say_with(
    connection: &Connection,
    path: &'static str,
    token: &str,
) -> Result<String, Status> {
    let mut request = Request::new("hello".to_owned());
    let value = format!("Bearer {token}").parse().expect("a header value");
    request.metadata_mut().insert("authorization", value);
    soon(call(connection, path, request)).await
}

#[tokio::test]
async fn unknown_expired_and_revoked_tokens_look_the_same() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("tokens.toml");
    let mut tokens = Tokens::default();
    let mut make = |name: &str, rights: &[Right], days, at| {
        tokens.add(name, rights, days, at).expect("made").token.to_string()
    };
    let spender = make("spender", &[Right::Read, Right::Spend], 1, now());
    let reader = make("reader", &[Right::Read], 1, now());
    let expired = make("expired", &[Right::Spend], 1, now() - 86_400);
    let revoked = make("revoked", &[Right::Spend], 1, now());
    tokens.revoke("revoked").expect("there");
    write(&file, &tokens.to_toml().expect("TOML"));
    let acme = Organisation::new("acme");
    let rig = acme.serve_with(Plan { tokens: Some(file), ..Plan::default() }).await;
    let connection = rig.tls(&acme.visitor());
    assert_eq!(say_with(&connection, SAY, &spender).await.expect("served"), "hello");
    let cookie = rig.gate.cookie().reveal();
    assert_eq!(say_with(&connection, SAY, cookie).await.expect("on this machine"), "hello");
    let status = say_with(&connection, SAY, &reader).await.expect_err("no right to spend");
    let explained = status::explain(&status);
    assert_eq!((status.code(), &*explained.reason), (Code::PermissionDenied, "MISSING_RIGHT"));
    let unknown = say_with(&connection, SAY, "pentad_00").await.expect_err("unknown");
    assert_eq!(unknown.code(), Code::Unauthenticated);
    for token in [&expired, &revoked] {
        let status = say_with(&connection, SAY, token).await.expect_err("no good");
        assert_eq!(status.code(), unknown.code());
        assert_eq!(status.message(), unknown.message());
        assert_eq!(status.details(), unknown.details());
        assert!(!status.message().contains(token.as_str()));
    }
    // What is shown on purpose decides, even where the certificate would do.
    let operator = rig.tls(&acme.member(Role::Operator));
    let status = say_with(&operator, SAY, &expired).await.expect_err("no good");
    assert_eq!(status.code(), Code::Unauthenticated);
    let page = rig.metrics.encode().expect("text");
    for (reason, count) in [("unknown", 1), ("expired", 2), ("revoked", 1), ("right", 1)] {
        let line = format!("pentad_calls_refused_total{{reason=\"{reason}\"}} {count}");
        assert!(page.contains(&line), "{line} is not in\n{page}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn tokens_are_read_anew_and_a_broken_file_changes_nothing() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("tokens.toml");
    let mut tokens = Tokens::default();
    let alice = tokens.add("alice", &[Right::Read, Right::Spend], 1, now()).expect("made").token;
    write(&file, &tokens.to_toml().expect("TOML"));
    let rig = Rig::with(Plan { tokens: Some(file.clone()), ..Plan::default() }).await;
    let connection = rig.stranger();
    say_with(&connection, SAY, &alice).await.expect("served");
    write(&file, "[[token]]\nname = 1");
    let is_told = |text: &'static str| {
        let metrics = rig.metrics.clone();
        async move || metrics.encode().expect("text").contains(text)
    };
    let broken = r#"pentad_trust_reloads_total{files="tokens",outcome="broken"} 1"#;
    until("the broken file is told of", is_told(broken)).await;
    until("it is broken", is_told(r#"pentad_trust_broken{files="tokens"} 1"#)).await;
    say_with(&connection, SAY, &alice).await.expect("still served");
    write(&file, &tokens.to_toml().expect("TOML"));
    until("it is mended", is_told(r#"pentad_trust_broken{files="tokens"} 0"#)).await;
    let mut request = Request::new(String::new());
    let value = format!("Bearer {}", *alice).parse().expect("a header value");
    request.metadata_mut().insert("authorization", value);
    let mut stream = soon(listen_with(&connection, request)).await.expect("a stream");
    soon(stream.message()).await.expect("served").expect("a number");
    tokens.revoke("alice").expect("there");
    write(&file, &tokens.to_toml().expect("TOML"));
    let revoked = async || say_with(&connection, SAY, &alice).await.is_err();
    until("it is revoked without a restart", revoked).await;
    let end = loop {
        if let Err(status) = soon(stream.message()).await {
            break status;
        }
    };
    assert_eq!(end.code(), Code::Unauthenticated, "the stream ends too: {end:?}");
    rig.stop().await;
}

#[tokio::test]
async fn certificates_and_authorities_rotate_while_calls_go_on() {
    let (old, new) = (Organisation::new("acme"), Organisation::new("acme"));
    let server = old.member(Role::Chain);
    let client = old.member(Role::Operator);
    let rig = Rig::with(Plan { tls: server.clone(), ..Plan::default() }).await;
    let tls = client.load().expect("of use").expect("named");
    let address = format!("https://localhost:{}", rig.address.port());
    let connection = Connection::open(&address, Some(&tls)).expect("an address");
    // Somebody whose files are never renewed.
    let left_behind = rig.tls(&TlsFiles {
        authority: client.authority.clone(),
        ..old.member_since(Role::Operator, now() - 60)
    });
    soon(say(&left_behind, SAY, "")).await.expect("served");
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let calls = tokio::spawn({
        let connection = connection.clone();
        async move {
            let mut count = 0_u32;
            while stopped.try_recv().is_err() {
                say(&connection, SAY, "").await.expect("no call fails");
                count += 1;
            }
            count
        }
    });
    let changes = |count: u32| {
        let metrics = rig.metrics.clone();
        let line =
            format!(r#"pentad_trust_reloads_total{{files="tls",outcome="changed"}} {count}"#);
        async move || metrics.encode().expect("text").contains(&line)
    };
    // 1. Both authorities are good.
    old.trust(&new);
    until("the server has seen it", changes(1)).await;
    assert!(matches!(tls.refresh(), pentad_trust::Refresh::Changed));
    // 2. Certificates of the new one, key before certificate: between the two nothing fits.
    let replace = |files: &TlsFiles, issued: &Issued| {
        write(files.key.as_deref().expect("named"), &issued.key);
        write(files.certificate.as_deref().expect("named"), &issued.certificate);
    };
    replace(&server, &new.issue("chain", Role::Chain, now()));
    until("the server has seen it", changes(2)).await;
    replace(&client, &new.issue("operator", Role::Operator, now()));
    assert!(matches!(tls.refresh(), pentad_trust::Refresh::Changed));
    soon(say(&connection, SAY, "")).await.expect("with the new certificate");
    // 3. The old one goes.
    write(&old.authority_file(), &fs::read_to_string(new.authority_file()).expect("there"));
    until("the server has seen it", changes(3)).await;
    assert_eq!(refused(&left_behind).await, (Code::Unauthenticated, "STALE_CERTIFICATE".into()));
    stop.send(()).expect("calls go on");
    assert!(soon(calls).await.expect("no call failed") > 0);
    rig.stop().await;
}
