use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Longest name of a wallet, in bytes: it becomes a file name.
const NAME_BYTES_MAX: usize = 64;

/// Name of a wallet: 1 to 64 of a-z, 0-9, '-', '_'. It is the stem of a file name, so nothing else
/// is let through: no dots, no separators, no upper case that some file systems would fold.
///
/// ```
/// use pentad_keystore::WalletName;
/// assert!("savings-2".parse::<WalletName>().is_ok());
/// assert!("../cookie".parse::<WalletName>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WalletName(String);

/// The text is no name of a wallet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a wallet's name is 1 to 64 of a-z, 0-9, '-' and '_'")]
pub struct InvalidName;

impl WalletName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for WalletName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        if (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName)
        }
    }
}

impl fmt::Display for WalletName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_the_directory_are_refused() {
        let long = "a".repeat(65);
        for text in ["", ".", "..", "../x", "a/b", "a\\b", "a.b", "A", "a b", "ä", "a\0", &long] {
            assert_eq!(text.parse::<WalletName>(), Err(InvalidName), "{text:?} was accepted");
        }
        for text in ["a", "miner", "my_wallet-2", &"a".repeat(64)] {
            assert!(text.parse::<WalletName>().is_ok(), "{text:?} was refused");
        }
    }
}
