//! The rights that methods declare in the protos, as a table made at build time.

use std::fmt;

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
    /// Operate the node.
    Operate,
    /// The services of the node among themselves.
    Internal,
}

impl Right {
    /// Maps the option's value; an unknown one gives no access to anybody.
    const fn from_option(value: i32) -> Option<Self> {
        match value {
            1 => Some(Self::Read),
            2 => Some(Self::Submit),
            3 => Some(Self::Spend),
            4 => Some(Self::Operate),
            5 => Some(Self::Internal),
            _ => None,
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Read => "read",
            Self::Submit => "submit",
            Self::Spend => "spend",
            Self::Operate => "operate",
            Self::Internal => "internal",
        })
    }
}

/// The right that a method needs, by its path (`/package.Service/Method`); `None` where none is
/// declared, which means that nobody may call it.
#[must_use]
pub fn required(path: &str) -> Option<Right> {
    if path.starts_with("/grpc.health.v1.Health/") || path.starts_with("/grpc.reflection.") {
        return Some(Right::Open);
    }
    declared(path)
}

/// Whether a method streams requests or responses, by its path: such a call lives for as long as
/// its caller wants, where a unary one has to end in time.
#[must_use]
pub fn is_streaming(path: &str) -> bool {
    path == "/grpc.health.v1.Health/Watch"
        || path.starts_with("/grpc.reflection.")
        || STREAMING.contains(&path)
}

include!(concat!(env!("OUT_DIR"), "/rights.rs"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_come_from_the_method_options() {
        assert_eq!(required("/pentad.chain.v1.ChainService/GetInfo"), Some(Right::Read));
        assert_eq!(required("/pentad.wallet.v1.WalletService/Send"), Some(Right::Spend));
        assert_eq!(required("/pentad.chain.v1.AssemblyService/GetTemplate"), Some(Right::Internal));
        assert_eq!(required("/grpc.health.v1.Health/Check"), Some(Right::Open));
    }

    #[test]
    fn streaming_comes_from_the_descriptors() {
        assert!(is_streaming("/pentad.chain.v1.EventService/FollowTip"));
        assert!(is_streaming("/grpc.health.v1.Health/Watch"));
        assert!(!is_streaming("/pentad.chain.v1.ChainService/GetInfo"));
        assert!(!is_streaming("/grpc.health.v1.Health/Check"));
    }

    #[test]
    fn undeclared_methods_have_no_right() {
        assert_eq!(required("/pentad.chain.v1.ChainService/NoSuchMethod"), None);
        assert_eq!(required("/somebody.Else/Method"), None);
        assert_eq!(required(""), None);
    }
}
