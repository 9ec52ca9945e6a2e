//! What a caller must be allowed to do.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// What a caller must be allowed to do (`pentad.options.v1.Right`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Right {
    /// Nothing: health checks, and reflection where it is on.
    Open,
    /// Read the public ledger and the state of the node.
    Read,
    /// Hand in transactions and blocks.
    Submit,
    /// Use keys.
    Spend,
    /// Operate the node: mining, peers.
    Operate,
    /// The services of the node among themselves.
    Internal,
    /// Check, repair and cut what the node has stored.
    Admin,
}

impl Right {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Open,
        Self::Read,
        Self::Submit,
        Self::Spend,
        Self::Operate,
        Self::Internal,
        Self::Admin,
    ];
    /// Those that people can be given.
    pub const OF_PEOPLE: [Self; 5] =
        [Self::Read, Self::Submit, Self::Spend, Self::Operate, Self::Admin];

    /// Its name, as in tokens and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Read => "read",
            Self::Submit => "submit",
            Self::Spend => "spend",
            Self::Operate => "operate",
            Self::Internal => "internal",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Not a right that people can be given.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("there is no right {0:?} to give; there are read, submit, spend, operate and admin")]
pub struct UnknownRight(String);

impl FromStr for Right {
    type Err = UnknownRight;

    /// Only of the rights that people can be given.
    fn from_str(name: &str) -> Result<Self, UnknownRight> {
        let found = Self::OF_PEOPLE.into_iter().find(|right| right.name() == name);
        found.ok_or_else(|| UnknownRight(name.to_owned()))
    }
}

/// Some of the rights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights(u8);

impl Rights {
    /// Whether `right` is among them; everybody holds [`Right::Open`].
    #[must_use]
    pub const fn has(self, right: Right) -> bool {
        matches!(right, Right::Open) || self.0 & Self::bit(right) != 0
    }

    const fn bit(right: Right) -> u8 {
        1 << right as u8
    }
}

impl FromIterator<Right> for Rights {
    fn from_iter<I: IntoIterator<Item = Right>>(rights: I) -> Self {
        Self(rights.into_iter().fold(0, |bits, right| bits | Self::bit(right)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in() {
        for one in Right::ALL {
            let rights: Rights = [one].into_iter().collect();
            for other in Right::ALL {
                assert_eq!(rights.has(other), other == one || other == Right::Open);
            }
        }
    }

    #[test]
    fn people_are_given_rights_by_name_and_never_internal() {
        for right in Right::OF_PEOPLE {
            assert_eq!(right.name().parse(), Ok(right));
        }
        for name in ["internal", "open", "READ", ""] {
            name.parse::<Right>().expect_err(name);
        }
    }
}
