//! `certs show`.

use std::fs;
use std::path::{Path, PathBuf};

use pentad_trust::Certificate;
use serde::Serialize;

use super::{DAY_SECONDS, ShowArgs, files, now};
use crate::console::{Answer, Console};
use crate::fault::Fault;
use crate::table::grid;

/// Certificates and what they say.
#[derive(Debug, Serialize)]
pub struct Listed {
    certificates: Vec<Row>,
}

/// What one says.
#[derive(Debug, Serialize)]
pub struct Row {
    file: PathBuf,
    name: String,
    organisation: Option<String>,
    role: Option<&'static str>,
    is_authority: bool,
    hosts: Vec<String>,
    /// As in RFC 3339.
    pub expires: String,
    /// Days, the last one counted; none left: it has expired.
    days_left: i64,
}

impl Row {
    /// Of a certificate in `file`.
    ///
    /// # Errors
    /// When its time is out of any calendar.
    pub fn of(file: &Path, facts: &Certificate) -> Result<Self, Fault> {
        let identity = facts.identity.as_ref();
        let expires = facts.expires().map_err(Fault::refused)?;
        Ok(Self {
            file: file.to_owned(),
            name: facts.name.clone(),
            organisation: identity.map(|identity| identity.organisation.clone()),
            role: identity.map(|identity| identity.role.name()),
            is_authority: facts.is_authority,
            hosts: facts.hosts.clone(),
            expires,
            days_left: days_left(facts.not_after.saturating_sub(now()?)),
        })
    }

    /// The role, or what it is in its place.
    pub fn role(&self) -> String {
        match (self.role, self.is_authority) {
            (Some(role), _) => role.to_owned(),
            (None, true) => "(authority)".to_owned(),
            (None, false) => "(none)".to_owned(),
        }
    }
}

/// So many days are `seconds`, the last one counted.
fn days_left(seconds: i64) -> i64 {
    let seconds = seconds.max(0);
    seconds / DAY_SECONDS + i64::from(seconds % DAY_SECONDS > 0)
}

impl Answer for Listed {
    fn to_table(&self) -> String {
        let row = |row: &Row| {
            [
                row.file.display().to_string(),
                row.name.clone(),
                row.organisation.clone().unwrap_or_default(),
                row.role(),
                row.expires.clone(),
                row.days_left.to_string(),
                row.hosts.join(" "),
            ]
        };
        let header = ["FILE", "NAME", "ORGANISATION", "ROLE", "EXPIRES", "DAYS", "HOSTS"];
        grid(header, &[5], self.certificates.iter().map(row).collect())
    }
}

/// `certs show`.
///
/// # Errors
/// When a file is none of certificates.
pub fn show(console: Console, arguments: &ShowArgs) -> Result<(), Fault> {
    let files = match &arguments.dir {
        Some(directory) => pem_files(directory)?,
        None => arguments.files.clone(),
    };
    console.answer(&listed(&files)?)
}

/// What the certificates in `files` say.
///
/// # Errors
/// When a file is none of certificates.
pub fn listed(files: &[PathBuf]) -> Result<Listed, Fault> {
    let mut rows = Vec::new();
    for file in files {
        for facts in certificates(file)? {
            rows.push(Row::of(file, &facts)?);
        }
    }
    Ok(Listed { certificates: rows })
}

/// The certificates in a file.
///
/// # Errors
/// When there is none, or something else.
pub fn certificates(path: &Path) -> Result<Vec<Certificate>, Fault> {
    Certificate::all_from_pem(&files::read(path)?)
        .map_err(|problem| Fault::refused(format!("{}: {problem}", path.display())))
}

/// The files `*.pem` of a directory, by name.
///
/// # Errors
/// When it cannot be read.
pub fn pem_files(directory: &Path) -> Result<Vec<PathBuf>, Fault> {
    let refuse = |error: std::io::Error| {
        Fault::refused(format!("cannot read {}: {error}", directory.display()))
    };
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(refuse)? {
        let path = entry.map_err(refuse)?.path();
        if path.extension().is_some_and(|extension| extension == "pem") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_issued_for_a_day_has_a_day_left_and_what_expired_has_none() {
        let days = [-DAY_SECONDS, -1, 0, 1, DAY_SECONDS, DAY_SECONDS + 1].map(days_left);
        assert_eq!(days, [0, 0, 0, 1, 1, 2]);
    }
}
