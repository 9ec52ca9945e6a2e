use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use pentad_trust::{Standing, TlsFiles};

use super::*;
use crate::console::Format;
use crate::fault::Exit;

const CONSOLE: Format = Format::Json;

fn run(line: &str) -> Result<(), Fault> {
    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(subcommand)]
        verb: CertsVerb,
    }
    let words = std::iter::once("certs").chain(line.split(' '));
    let line = <Line as clap::Parser>::try_parse_from(words).map_err(Fault::from)?;
    certs(Console::new(CONSOLE), &line.verb)
}

fn files(directory: &Path, name: &str) -> TlsFiles {
    TlsFiles {
        certificate: Some(directory.join(format!("{name}.pem"))),
        key: Some(directory.join(format!("{name}.key"))),
        authority: Some(directory.join("authority.pem")),
    }
}

#[test]
fn an_authority_makes_certificates_that_work_and_renews_them() {
    let parent = tempfile::tempdir().expect("a temporary directory");
    let directory = parent.path().join("certs");
    let dir = directory.display();
    run(&format!("init --dir {dir} --organisation acme")).expect("made");
    run(&format!("issue --dir {dir} --role chain --name chain --host chain 10.0.0.1"))
        .expect("made");
    run(&format!("issue --dir {dir} --role operator --name olga")).expect("made");
    for key in ["authority.key", "chain.key", "olga.key"] {
        let mode = std::fs::metadata(directory.join(key)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
    let chain = files(&directory, "chain").load().expect("of use").expect("named");
    let own = chain.current().own.clone().expect("a certificate");
    assert_eq!(own.hosts, ["chain", "10.0.0.1", "localhost", "127.0.0.1", "::1"]);
    let identity = own.identity.clone().expect("a role");
    assert_eq!(identity.to_string(), "spiffe://pentad/acme/chain");
    let olga = files(&directory, "olga").load().expect("of use").expect("named");
    assert_eq!(olga.current().own.as_ref().expect("a certificate").hosts, [""; 0]);

    let before = std::fs::read(directory.join("chain.key")).expect("there");
    run(&format!("renew --dir {dir} --within 30")).expect("nothing to do");
    assert_eq!(std::fs::read(directory.join("chain.key")).expect("there"), before);
    run(&format!("renew --dir {dir} --name chain")).expect("renewed");
    assert_ne!(std::fs::read(directory.join("chain.key")).expect("there"), before);
    let renewed = files(&directory, "chain").load().expect("of use").expect("named");
    let renewed = renewed.current().own.clone().expect("a certificate");
    assert_eq!((renewed.hosts, renewed.identity), (own.hosts, own.identity));
    run(&format!("show --dir {dir}")).expect("shown");
}

#[test]
fn an_authority_is_replaced_first_and_retired_once_nothing_is_of_it() {
    let parent = tempfile::tempdir().expect("a temporary directory");
    let directory = parent.path().join("certs");
    let dir = directory.display();
    run(&format!("init --dir {dir}")).expect("made");
    for name in ["chain", "peer"] {
        run(&format!("issue --dir {dir} --role {name} --name {name}")).expect("made");
    }
    let before = std::fs::read(directory.join("chain.pem")).expect("there");
    run(&format!("renew --dir {dir} --authority")).expect("made");
    // What others cannot check yet stays unmade.
    assert_eq!(std::fs::read(directory.join("chain.pem")).expect("there"), before);
    let chain = files(&directory, "chain").load().expect("of use").expect("named");
    assert_eq!(chain.current().authorities.len(), 2, "old and new");
    let retire_too_early = |renewed: &str| {
        run(&format!("renew --dir {dir} --name {renewed}")).expect("renewed");
        run(&format!("retire --dir {dir}")).expect_err("one is of the old").to_text()
    };
    let text = retire_too_early("chain");
    assert!(text.contains("certificates: peer\n"), "{text}");
    run(&format!("renew --dir {dir}")).expect("renewed");
    run(&format!("retire --dir {dir}")).expect("done");
    let chain = files(&directory, "chain").load().expect("of use").expect("named");
    assert_eq!(chain.current().authorities.len(), 1);
    for flags in ["--name chain", "--within 30", "--days 30"] {
        let line = format!("renew --dir {dir} --authority {flags}");
        assert_eq!(run(&line).expect_err(&line).exit(), Exit::Usage);
    }
}

#[test]
fn who_reads_a_pair_meanwhile_gets_one_of_before_or_of_after() {
    let parent = tempfile::tempdir().expect("a temporary directory");
    let directory = parent.path().join("certs");
    let dir = directory.display();
    run(&format!("init --dir {dir}")).expect("made");
    run(&format!("issue --dir {dir} --role operator --name olga")).expect("made");
    std::thread::scope(|scope| {
        let renewing = scope.spawn(|| {
            for _ in 0..50 {
                run(&format!("renew --dir {dir} --name olga")).expect("renewed");
            }
        });
        while !renewing.is_finished() {
            files(&directory, "olga").load().expect("of use").expect("named");
        }
    });
}

#[test]
fn what_is_there_stays_and_what_makes_no_sense_is_refused() {
    let parent = tempfile::tempdir().expect("a temporary directory");
    let directory = parent.path().join("certs");
    let dir = directory.display();
    let refuse = |line: &str, exit: Exit| {
        let fault = run(line).expect_err(line);
        assert_eq!(fault.exit(), exit, "{line}: {}", fault.to_text());
    };
    refuse(&format!("issue --dir {dir} --role chain --name chain"), Exit::Refused);
    refuse(&format!("init --dir {dir} --organisation A"), Exit::Refused);
    run(&format!("init --dir {dir}")).expect("made");
    refuse(&format!("init --dir {dir}"), Exit::Refused);
    refuse(&format!("issue --dir {dir} --role king --name k"), Exit::Usage);
    refuse(&format!("issue --dir {dir} --role chain --name authority"), Exit::Usage);
    refuse(&format!("issue --dir {dir} --role chain --name ../k"), Exit::Refused);
    refuse(&format!("issue --dir {dir} --role chain --name k --host a:1"), Exit::Refused);
    refuse(&format!("issue --dir {dir} --role chain --name k --days 0"), Exit::Refused);
    run(&format!("issue --dir {dir} --role chain --name k")).expect("made");
    refuse(&format!("issue --dir {dir} --role chain --name k"), Exit::Refused);
    refuse(&format!("renew --dir {dir} --name nobody"), Exit::Usage);
    refuse("show /nonexistent.pem", Exit::Refused);
    refuse(&format!("show {dir}/k.key"), Exit::Refused);
}

#[test]
fn a_token_is_made_once_and_taken_back() {
    let parent = tempfile::tempdir().expect("a temporary directory");
    let file = parent.path().join("tokens.toml");
    let path = file.display();
    run(&format!("token --file {path} --name alice --rights read,submit")).expect("made");
    let own = parent.path().join("bob.token");
    let (out, bob) = (own.display(), "--name bob --rights spend --days 1");
    run(&format!("token --file {path} {bob} --out {out}")).expect("made");
    let mode = std::fs::metadata(&own).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let token = std::fs::read_to_string(&own).expect("there");
    for line in [
        format!("token --file {path} --name alice --rights read"),
        format!("token --file {path} --name carol --rights internal"),
        format!("token --file {path} --name carol --rights read --days 0"),
        format!("token --file {path} --name carol --rights read --out {out}"),
        format!("revoke --file {path} --name carol"),
        format!("revoke --file {path}x --name alice"),
    ] {
        run(&line).expect_err(&line);
    }
    run(&format!("revoke --file {path} --name alice")).expect("revoked");
    let text = std::fs::read_to_string(&file).expect("there");
    let tokens = pentad_trust::Tokens::from_toml(&text).expect("valid");
    let revoked: Vec<bool> = tokens.entries().iter().map(|entry| entry.revoked).collect();
    assert_eq!(revoked, [true, false]);
    assert_eq!(tokens.standing(b"pentad_00", 0), Standing::Unknown);
    let standing = tokens.standing(token.trim().as_bytes(), 0);
    assert!(matches!(standing, Standing::Good(name, _) if &*name == "bob"), "{token}");
}
