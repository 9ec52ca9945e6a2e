//! Tokens: what people show in place of a certificate.
//!
//! ```toml
//! [[token]]
//! name = "alice"
//! sha256 = "5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9"
//! rights = ["read", "submit"]
//! expires = "2027-01-31T12:00:00Z"
//! ```

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use crate::certificate::is_name;
use crate::error::TrustError;
use crate::right::{Right, Rights};
use crate::watched::{Contents, Source, Watched, read_public};

/// Bytes of entropy: beyond guessing, so a plain hash is enough.
const TOKEN_BYTES: usize = 32;
/// Says what it is, to people and to scanners that look for leaked secrets.
const TOKEN_PREFIX: &str = "pentad_";
/// Tokens in one file: every call that shows one is compared with all.
const TOKENS_MAX: usize = 1000;

/// A token in its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenEntry {
    /// Whose it is.
    pub name: String,
    /// SHA-256 of the token, 64 hex digits.
    pub sha256: String,
    /// What it allows.
    pub rights: Vec<String>,
    /// Until when, as in RFC 3339.
    pub expires: String,
    /// Not any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub revoked: bool,
}

/// The file as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entries {
    #[serde(default)]
    token: Vec<TokenEntry>,
}

/// A file of tokens.
#[derive(Clone, Debug)]
pub struct TokenFile(PathBuf);

/// The tokens of a file.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    entries: Vec<TokenEntry>,
    known: Vec<Known>,
}

#[derive(Clone, Debug)]
struct Known {
    name: Arc<str>,
    hash: [u8; 32],
    rights: Rights,
    expires: i64,
    revoked: bool,
}

/// How it stands with a token that somebody shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// There is no such token.
    Unknown,
    /// Its time is over.
    Expired(Arc<str>),
    /// It was taken back.
    Revoked(Arc<str>),
    /// It is good.
    Good(Arc<str>, Rights),
}

/// A token that was just made.
#[derive(Debug)]
pub struct NewToken {
    /// To give to its holder, once.
    pub token: Zeroizing<String>,
    /// Until when it holds, as in RFC 3339.
    pub expires: String,
}

impl TokenFile {
    /// The file at `path`.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Reads it for the first time.
    ///
    /// # Errors
    /// When it cannot be read or is something else.
    pub fn load(&self) -> Result<Arc<Watched<Self>>, TrustError> {
        Ok(Arc::new(Watched::load(self.clone())?))
    }
}

impl Source for TokenFile {
    type Value = Tokens;

    fn read(&self) -> Result<Vec<Contents>, TrustError> {
        Ok(vec![read_public(&self.0)?])
    }

    fn parse(&self, contents: &[Contents]) -> Result<Tokens, TrustError> {
        let malformed = |problem| TrustError::Malformed { path: self.0.clone(), problem };
        let [content] = contents else {
            return Err(malformed("not one file".to_owned()));
        };
        let text = std::str::from_utf8(content).map_err(|error| malformed(error.to_string()))?;
        Tokens::from_toml(text).map_err(malformed)
    }

    fn summary(tokens: &Tokens) -> String {
        let revoked = tokens.known.iter().filter(|token| token.revoked).count();
        format!("tokens: {}, revoked: {revoked}", tokens.known.len())
    }
}

impl Tokens {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// In words, what is wrong with it.
    pub fn from_toml(text: &str) -> Result<Self, String> {
        let read: Entries = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        let entries = read.token;
        if entries.len() > TOKENS_MAX {
            return Err(format!("more than {TOKENS_MAX} tokens"));
        }
        let known = entries.iter().map(Known::of).collect::<Result<Vec<_>, _>>()?;
        let names: BTreeSet<_> = known.iter().map(|token| &token.name).collect();
        let hashes: BTreeSet<_> = known.iter().map(|token| token.hash).collect();
        if names.len() != known.len() || hashes.len() != known.len() {
            return Err("two tokens have one name or one hash".to_owned());
        }
        Ok(Self { entries, known })
    }

    /// The text of a file.
    ///
    /// # Errors
    /// When it is no TOML, which cannot be.
    pub fn to_toml(&self) -> Result<String, String> {
        let entries = Entries { token: self.entries.clone() };
        toml::to_string(&entries).map_err(|error| error.to_string())
    }

    /// Its entries, as they stand in the file.
    #[must_use]
    pub fn entries(&self) -> &[TokenEntry] {
        &self.entries
    }

    /// Whether `shown` is meant as a token, a good one or not.
    #[must_use]
    pub fn may_have(shown: &[u8]) -> bool {
        shown.starts_with(TOKEN_PREFIX.as_bytes())
    }

    /// How it stands with `token` at `now`, Unix time in seconds. How long that takes tells nothing
    /// of the tokens: it is compared with all, each in constant time.
    #[must_use]
    pub fn standing(&self, token: &[u8], now: i64) -> Standing {
        let hash: [u8; 32] = Sha256::digest(token).into();
        let mut found = None;
        for known in &self.known {
            if bool::from(known.hash.ct_eq(&hash)) {
                found = Some(known);
            }
        }
        match found {
            None => Standing::Unknown,
            Some(token) if token.revoked => Standing::Revoked(Arc::clone(&token.name)),
            Some(token) if token.expires <= now => Standing::Expired(Arc::clone(&token.name)),
            Some(token) => Standing::Good(Arc::clone(&token.name), token.rights),
        }
    }

    /// Makes a token for `name`, which holds for `days` from `now`, Unix time in seconds.
    ///
    /// # Errors
    /// In words: a name that is none or taken, no rights, a full file, no entropy.
    pub fn add(
        &mut self,
        name: &str,
        rights: &[Right],
        days: u32,
        now: i64,
    ) -> Result<NewToken, String> {
        let mut entropy = Zeroizing::new([0; TOKEN_BYTES]);
        getrandom::fill(entropy.as_mut_slice()).map_err(|error| format!("no entropy: {error}"))?;
        let token = Zeroizing::new(format!("{TOKEN_PREFIX}{}", hex::encode(entropy.as_slice())));
        let seconds = i64::from(days).saturating_mul(86_400);
        let expires = OffsetDateTime::from_unix_timestamp(now.saturating_add(seconds))
            .map_err(|error| error.to_string())?;
        let expires = expires.format(&Rfc3339).map_err(|error| error.to_string())?;
        let entry = TokenEntry {
            name: name.to_owned(),
            sha256: hex::encode(Sha256::digest(token.as_bytes())),
            rights: rights.iter().map(|right| right.name().to_owned()).collect(),
            expires: expires.clone(),
            revoked: false,
        };
        let known = Known::of(&entry)?;
        if self.known.iter().any(|other| other.name == known.name) {
            return Err(format!("there is a token {name:?} already; name another"));
        }
        if self.known.len() >= TOKENS_MAX {
            return Err(format!("there are {TOKENS_MAX} tokens already"));
        }
        self.entries.push(entry);
        self.known.push(known);
        Ok(NewToken { token, expires })
    }

    /// Takes the token of `name` back; whether it was good for anything before.
    ///
    /// # Errors
    /// In words: there is none.
    pub fn revoke(&mut self, name: &str) -> Result<bool, String> {
        let of_name = |known: &&mut Known| &*known.name == name;
        let known = self.known.iter_mut().find(of_name);
        let entry = self.entries.iter_mut().find(|entry| entry.name == name);
        let (Some(known), Some(entry)) = (known, entry) else {
            return Err(format!("there is no token {name:?}"));
        };
        let was_good = !known.revoked;
        (known.revoked, entry.revoked) = (true, true);
        Ok(was_good)
    }
}

impl Known {
    fn of(entry: &TokenEntry) -> Result<Self, String> {
        let of = |problem: String| format!("token {:?}: {problem}", entry.name);
        if !is_name(&entry.name) {
            return Err(of("a name is 1 to 64 of a-z, 0-9, '-', '_', '.'".to_owned()));
        }
        let mut hash = [0; 32];
        hex::decode_to_slice(&entry.sha256, &mut hash)
            .map_err(|_| of("sha256 is not 64 hex digits".to_owned()))?;
        let rights = entry.rights.iter().map(|name| name.parse::<Right>());
        let rights: Rights =
            rights.collect::<Result<_, _>>().map_err(|error| of(error.to_string()))?;
        if entry.rights.is_empty() {
            return Err(of("it has no rights".to_owned()));
        }
        let expires = OffsetDateTime::parse(&entry.expires, &Rfc3339)
            .map_err(|error| of(format!("expires is no time as in RFC 3339: {error}")))?;
        let name = entry.name.as_str().into();
        Ok(Self { name, hash, rights, expires: expires.unix_timestamp(), revoked: entry.revoked })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_000_000;

    fn good(name: &str, rights: &[Right]) -> Standing {
        Standing::Good(name.into(), rights.iter().copied().collect())
    }

    #[test]
    fn a_token_holds_until_it_expires_or_is_revoked() {
        let mut tokens = Tokens::default();
        let alice = tokens.add("alice", &[Right::Read, Right::Submit], 30, NOW).expect("made");
        let bob = tokens.add("bob", &[Right::Spend], 1, NOW).expect("made");
        assert_ne!(*alice.token, *bob.token);
        let text = tokens.to_toml().expect("TOML");
        assert!(!text.contains(&alice.token[TOKEN_PREFIX.len()..]), "the token is in its file");
        let mut tokens = Tokens::from_toml(&text).expect("read back");
        let is_alice = good("alice", &[Right::Read, Right::Submit]);
        assert_eq!(tokens.standing(alice.token.as_bytes(), NOW), is_alice);
        let last = NOW + 86_400;
        assert_eq!(tokens.standing(bob.token.as_bytes(), last - 1), good("bob", &[Right::Spend]));
        assert_eq!(tokens.standing(bob.token.as_bytes(), last), Standing::Expired("bob".into()));
        assert_eq!(tokens.standing(b"pentad_", NOW), Standing::Unknown);
        assert_eq!(tokens.revoke("alice"), Ok(true));
        assert_eq!(tokens.revoke("alice"), Ok(false));
        tokens.revoke("carol").expect_err("nobody");
        let text = tokens.to_toml().expect("TOML");
        let tokens = Tokens::from_toml(&text).expect("read back");
        let revoked = Standing::Revoked("alice".into());
        assert_eq!(tokens.standing(alice.token.as_bytes(), NOW), revoked);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let mut tokens = Tokens::default();
        tokens.add("alice", &[Right::Read], 1, NOW).expect("made");
        for (name, rights) in
            [("alice", &[Right::Read][..]), ("Al ice", &[Right::Read]), ("bob", &[])]
        {
            tokens.add(name, rights, 1, NOW).expect_err(name);
        }
        tokens.add("bob", &[Right::Internal], 1, NOW).expect_err("not for people");
        let text = tokens.to_toml().expect("TOML");
        for (from, to) in [
            ("read", "rule"),
            ("read", "internal"),
            ("sha256 = \"", "sha256 = \"x"),
            ("expires = \"", "expires = \"x"),
            ("name", "nome"),
            ("[[token]]", "[token]"),
        ] {
            assert!(text.contains(from), "{text}");
            Tokens::from_toml(&text.replace(from, to)).expect_err(to);
        }
        Tokens::from_toml(&format!("{text}\n{text}")).expect_err("twice");
        assert!(Tokens::from_toml("").expect("an empty file").entries().is_empty());
    }
}
