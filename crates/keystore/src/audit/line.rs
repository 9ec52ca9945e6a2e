use std::fmt;

use sha2::{Digest as _, Sha256};

use super::Entry;

/// Longest line that is read: a payment to 1000 addresses, and the request behind it.
pub(super) const LINE_BYTES_MAX: u64 = 1 << 20;
pub(super) const HASH_DIGITS: usize = 64;
/// How [`Entry::durable`] begins in JSON.
const DURABLE: &[u8] = b"\"durable\":";

/// What one line adds to the chain.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LineHash([u8; 32]);

impl LineHash {
    /// Before the first line.
    pub(super) const START: Self = Self([0; 32]);

    /// What was printed.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let hash = Self(hex::decode(text).ok()?.try_into().ok()?);
        (hash.to_string() == text).then_some(hash)
    }

    fn of(previous: Self, json: &[u8]) -> Self {
        Self(Sha256::new().chain_update(previous.0).chain_update(json).finalize().into())
    }
}

impl fmt::Display for LineHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for LineHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LineHash({self})")
    }
}

/// Appends the line of an entry to `out`; returns its hash.
pub(super) fn write(out: &mut Vec<u8>, previous: LineHash, entry: &Entry) -> LineHash {
    let json = serde_json::to_vec(entry).expect("plain fields, text keys");
    let hash = LineHash::of(previous, &json);
    out.extend_from_slice(hash.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(&json);
    out.push(b'\n');
    hash
}

/// The entry of a line (its line end included), and its hash; `None` when the line does not follow
/// `previous` or is not whole.
pub(super) fn read(line: &[u8], previous: LineHash) -> Option<(Entry, LineHash)> {
    let (digits, json) = split(line)?;
    let hash = LineHash::of(previous, json);
    if digits != hash.to_string().as_bytes() {
        return None;
    }
    Some((serde_json::from_slice(json).ok()?, hash))
}

/// The highest entry that is called durable anywhere in `bytes`, whatever else they are: a line
/// end may be what was altered. Texts of others cannot say so: JSON escapes their quotes.
pub(super) fn durable(bytes: &[u8]) -> Option<u64> {
    let number = |rest: &[u8]| {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        str::from_utf8(&rest[..digits]).ok()?.parse().ok()
    };
    (0..bytes.len()).filter_map(|at| number(bytes[at..].strip_prefix(DURABLE)?)).max()
}

fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (digits, rest) = line.split_at_checked(HASH_DIGITS)?;
    Some((digits, rest.strip_prefix(b" ")?.strip_suffix(b"\n")?))
}
