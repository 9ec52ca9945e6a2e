//! `certs init`, `issue`, `renew`, `retire`.

use std::path::{Path, PathBuf};

use pentad_trust::{Authority, Certificate, Identity, Issued, Order};
use serde::Serialize;
use zeroize::Zeroizing;

use super::files::{self, AUTHORITY, certificate_path, key_path};
use super::show::{Listed, Row, certificates, listed};
use super::{DAY_SECONDS, InitArgs, IssueArgs, RenewArgs, now};
use crate::console::{Answer, Console};
use crate::fault::Fault;
use crate::secret_file::create_directory;
use crate::table::{grid, pairs};

/// Hosts of everybody who listens: others on the same machine.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// The mark between certificates of one file.
const PEM_END: &str = "-----END CERTIFICATE-----";

#[derive(Debug, Serialize)]
struct Initialised {
    organisation: String,
    authority: PathBuf,
    key: PathBuf,
}

impl Answer for Initialised {
    fn to_table(&self) -> String {
        pairs([
            ("organisation", self.organisation.clone()),
            ("authority", self.authority.display().to_string()),
            ("key", format!("{}, which nobody else may have", self.key.display())),
        ])
    }

    fn next(&self) -> Vec<String> {
        let directory = self.authority.parent().unwrap_or(&self.authority).display();
        vec![format!("pentad certs issue --dir {directory} --role node --name node1 --host HOST")]
    }
}

/// Certificates that were made.
#[derive(Debug, Serialize)]
struct Made {
    certificates: Vec<Pair>,
}

#[derive(Debug, Serialize)]
struct Pair {
    certificate: PathBuf,
    key: PathBuf,
    #[serde(flatten)]
    row: Row,
}

impl Answer for Made {
    fn to_table(&self) -> String {
        if self.certificates.is_empty() {
            return "nothing to renew".to_owned();
        }
        let row = |pair: &Pair| {
            [
                pair.certificate.display().to_string(),
                pair.key.display().to_string(),
                pair.row.role(),
                pair.row.expires.clone(),
            ]
        };
        grid(
            ["CERTIFICATE", "KEY", "ROLE", "EXPIRES"],
            &[],
            self.certificates.iter().map(row).collect(),
        )
    }
}

/// `certs init`.
///
/// # Errors
/// When there is an authority already.
pub fn init(console: Console, arguments: &InitArgs) -> Result<(), Fault> {
    let directory = &arguments.dir;
    let issued =
        Authority::create(&arguments.organisation, arguments.days, now()?).map_err(wrong)?;
    create_directory(directory)?;
    let _lock = files::lock(directory)?;
    let (authority, key) = (certificate_path(directory, AUTHORITY), key_path(directory, AUTHORITY));
    if authority.exists() || key.exists() {
        let text = format!("there is an authority in {} already", directory.display());
        return Err(Fault::refused(text)
            .with_hint("`pentad certs renew --authority` makes another one beside it"));
    }
    files::write_pair(directory, AUTHORITY, &issued)?;
    console.answer(&Initialised { organisation: arguments.organisation.clone(), authority, key })
}

/// `certs issue`.
///
/// # Errors
/// When there is no authority, or a certificate of that name already.
pub fn issue(console: Console, arguments: &IssueArgs) -> Result<(), Fault> {
    let IssueArgs { dir, role, name, host, days } = arguments;
    if name == AUTHORITY {
        return Err(Fault::usage(format!(
            "the name {AUTHORITY:?} is taken by the authority itself"
        )));
    }
    let _lock = files::lock(dir)?;
    if certificate_path(dir, name).exists() || key_path(dir, name).exists() {
        let text = format!("there is a certificate {name} in {} already", dir.display());
        return Err(Fault::refused(text).with_hint(format!(
            "`pentad certs renew --dir {} --name {name}` renews it",
            dir.display()
        )));
    }
    let mut hosts = host.clone();
    if role.listens() {
        let missing = LOOPBACK.iter().filter(|own| !host.iter().any(|host| host == *own));
        hosts.extend(missing.map(|host| (*host).to_owned()));
    }
    let order = Order { name: name.clone(), role: *role, hosts, days: *days };
    let issued = authority(dir)?.issue(&order, now()?).map_err(wrong)?;
    console.answer(&Made { certificates: vec![put(dir, name, &issued)?] })
}

/// `certs renew`.
///
/// # Errors
/// When there is no authority, or no certificate of a name.
pub fn renew(console: Console, arguments: &RenewArgs) -> Result<(), Fault> {
    let RenewArgs { dir, name: names, within, days, authority: is_authority } = arguments;
    let _lock = files::lock(dir)?;
    let now = now()?;
    if *is_authority {
        return console.answer(&replace_authority(dir, now)?);
    }
    let found = renewable(dir)?;
    if let Some(unknown) = names.iter().find(|name| !found.iter().any(|(own, _)| own == *name)) {
        let text = format!("there is no certificate {unknown} in {}", dir.display());
        return Err(Fault::usage(text).with_hint("`pentad certs show --dir` lists them"));
    }
    let authority = authority(dir)?;
    let is_meant = |name: &String, facts: &Certificate| {
        let left = facts.not_after.saturating_sub(now) / DAY_SECONDS;
        (names.is_empty() || names.contains(name)) && within.is_none_or(|days| left < days.into())
    };
    let mut certificates = Vec::new();
    for (name, facts) in found.into_iter().filter(|(name, facts)| is_meant(name, facts)) {
        let Some(Identity { role, .. }) = facts.identity else { continue };
        let order = Order { name: name.clone(), role, hosts: facts.hosts, days: *days };
        let issued = authority.issue(&order, now).map_err(wrong)?;
        certificates.push(put(dir, &name, &issued)?);
    }
    console.answer(&Made { certificates })
}

/// `certs retire`.
///
/// # Errors
/// When there is no authority, or a certificate of one that would go.
pub fn retire(console: Console, directory: &Path) -> Result<(), Fault> {
    let _lock = files::lock(directory)?;
    let path = certificate_path(directory, AUTHORITY);
    let text = files::read(&path)?;
    let newest_name = certificates(&path)?.into_iter().next().map(|newest| newest.name);
    let old = renewable(directory)?.into_iter().filter_map(|(name, facts)| {
        let is_old = newest_name.as_ref() != Some(&facts.issuer);
        is_old.then_some(name)
    });
    let old: Vec<String> = old.collect();
    if !old.is_empty() {
        let text = format!("an authority that would go has made certificates: {}", old.join(", "));
        let hint = format!("`pentad certs renew --dir {}` first", directory.display());
        return Err(Fault::refused(text).with_hint(hint));
    }
    files::replace_public(&path, newest(&path, &text)?)?;
    console.answer(&listed(&[path])?)
}

/// The newest authority of a directory, which makes its certificates.
fn authority(directory: &Path) -> Result<Authority, Fault> {
    let certificates = files::read(&certificate_path(directory, AUTHORITY))?;
    let key = Zeroizing::new(files::read(&key_path(directory, AUTHORITY))?);
    Authority::from_pem(&certificates, &key).map_err(wrong)
}

/// Authorities, the newest first.
#[derive(Debug, Serialize)]
struct Overlap {
    #[serde(flatten)]
    listed: Listed,
    #[serde(skip)]
    directory: PathBuf,
}

impl Answer for Overlap {
    fn to_table(&self) -> String {
        self.listed.to_table()
    }

    fn next(&self) -> Vec<String> {
        let (dir, file) = (self.directory.display(), certificate_path(&self.directory, AUTHORITY));
        vec![
            format!("bring {} to every machine, and then:", file.display()),
            format!("pentad certs renew --dir {dir}    bring the certificates"),
            format!("pentad certs retire --dir {dir}   bring authority.pem once more"),
        ]
    }
}

/// Puts a new authority that holds as long as the one before in front of it.
fn replace_authority(directory: &Path, now: i64) -> Result<Overlap, Fault> {
    let path = certificate_path(directory, AUTHORITY);
    let before = files::read(&path)?;
    let facts = certificates(&path)?;
    let first = facts.first().ok_or_else(|| wrong("no authority"))?;
    let seconds = first.not_after.saturating_sub(first.not_before);
    let days = u32::try_from(seconds / DAY_SECONDS).map_err(wrong)?.max(1);
    let organisation = authority(directory)?.organisation().to_owned();
    let made = Authority::create(&organisation, days, now).map_err(wrong)?;
    let certificate = format!("{}{before}", made.certificate);
    files::write_pair(directory, AUTHORITY, &Issued { certificate, key: made.key })?;
    Ok(Overlap { listed: listed(&[path])?, directory: directory.to_owned() })
}

/// Certificates of a directory that name a role, by the names of their files.
fn renewable(directory: &Path) -> Result<Vec<(String, Certificate)>, Fault> {
    let mut found = Vec::new();
    for path in super::show::pem_files(directory)? {
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if name == AUTHORITY {
            continue;
        }
        if let Some(facts) =
            certificates(&path)?.into_iter().next().filter(|it| it.identity.is_some())
        {
            found.push((name, facts));
        }
    }
    Ok(found)
}

fn newest<'a>(path: &Path, text: &'a str) -> Result<&'a str, Fault> {
    let end = text.find(PEM_END).map(|at| at.saturating_add(PEM_END.len()));
    let first = end.and_then(|end| text.get(..end.saturating_add(1)).or_else(|| text.get(..end)));
    first.ok_or_else(|| Fault::refused(format!("there is no certificate in {}", path.display())))
}

fn put(directory: &Path, name: &str, issued: &Issued) -> Result<Pair, Fault> {
    files::write_pair(directory, name, issued)?;
    let certificate = certificate_path(directory, name);
    let facts = certificates(&certificate)?.into_iter().next();
    let facts = facts.ok_or_else(|| wrong("no certificate was made"))?;
    let row = Row::of(&certificate, &facts)?;
    Ok(Pair { key: key_path(directory, name), certificate, row })
}

fn wrong(error: impl std::fmt::Display) -> Fault {
    Fault::refused(error.to_string())
}
