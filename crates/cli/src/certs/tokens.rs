//! `certs token` and `certs revoke`.

use std::path::{Path, PathBuf};

use pentad_trust::Tokens;
use serde::Serialize;
use zeroize::Zeroizing;

use super::{RevokeArgs, TokenArgs, files, now};
use crate::console::{Answer, Console};
use crate::fault::Fault;
use crate::new_file::NewFile;
use crate::secret_file::create_directory;
use crate::table::pairs;

#[derive(Debug, Serialize)]
struct Made {
    name: String,
    /// The only time that it is shown; nothing: a file has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    rights: Vec<String>,
    expires: String,
}

impl Answer for Made {
    fn to_table(&self) -> String {
        let rows = [
            ("name", Some(self.name.clone())),
            ("token", self.token.clone()),
            ("file", self.file.as_ref().map(|path| path.display().to_string())),
            ("rights", Some(self.rights.join(" "))),
            ("expires", Some(self.expires.clone())),
        ];
        pairs(rows.into_iter().filter_map(|(name, value)| Some((name, value?))))
    }

    fn next(&self) -> Vec<String> {
        let file = self.file.as_ref().map(|path| path.display().to_string());
        let keep = "keep the token in a file of mode 0600: it is shown this once".to_owned();
        let call = format!(
            "pentad --grpc HOST:PORT --tls-authority FILE --token-file {} chain get-info",
            file.as_deref().unwrap_or("FILE")
        );
        file.is_none().then_some(keep).into_iter().chain([call]).collect()
    }
}

#[derive(Debug, Serialize)]
struct Revoked {
    name: String,
    /// It was good for something until now.
    revoked: bool,
}

impl Answer for Revoked {
    fn to_table(&self) -> String {
        match self.revoked {
            true => format!("the token of {} is revoked", self.name),
            false => format!("the token of {} was revoked before", self.name),
        }
    }
}

/// `certs token`.
///
/// # Errors
/// When the name is taken, a file is something else, or that for the token is there already.
pub fn token(console: Console, arguments: &TokenArgs) -> Result<(), Fault> {
    let TokenArgs { file, name, rights, days, out } = arguments;
    let place = out.as_deref().map(NewFile::create_private).transpose()?;
    create_directory(directory(file))?;
    let made = change(file, true, |tokens| {
        tokens.add(name, rights, *days, now()?).map_err(Fault::refused)
    })?;
    let token = match place {
        Some(place) => {
            place.write(&Zeroizing::new(format!("{}\n", *made.token)))?;
            None
        }
        None => Some(made.token.to_string()),
    };
    console.answer(&Made {
        name: name.clone(),
        token,
        file: out.clone(),
        rights: rights.iter().map(|right| right.name().to_owned()).collect(),
        expires: made.expires,
    })
}

/// `certs revoke`.
///
/// # Errors
/// When there is no such token.
pub fn revoke(console: Console, arguments: &RevokeArgs) -> Result<(), Fault> {
    let RevokeArgs { file, name } = arguments;
    let revoked = change(file, false, |tokens| tokens.revoke(name).map_err(Fault::refused))?;
    console.answer(&Revoked { name: name.clone(), revoked })
}

/// Changes a file of tokens, one command after the other, and replaces it at once.
fn change<T>(
    path: &Path,
    may_be_missing: bool,
    change: impl FnOnce(&mut Tokens) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let _lock = files::lock(directory(path))?;
    let text = match may_be_missing && !path.exists() {
        true => String::new(),
        false => files::read(path)?,
    };
    let refuse = |problem| Fault::refused(format!("{}: {problem}", path.display()));
    let mut tokens = Tokens::from_toml(&text).map_err(refuse)?;
    let outcome = change(&mut tokens)?;
    files::replace_public(path, &tokens.to_toml().map_err(refuse)?)?;
    Ok(outcome)
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
