//! The rights that methods declare in the protos, as a table made at build time.

use pentad_trust::Right;

/// Maps the option's value; an unknown one gives no access to anybody.
const fn right(option: i32) -> Option<Right> {
    match option {
        1 => Some(Right::Read),
        2 => Some(Right::Submit),
        3 => Some(Right::Spend),
        4 => Some(Right::Operate),
        5 => Some(Right::Internal),
        6 => Some(Right::Admin),
        _ => None,
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
    use pentad_trust::Role;

    use super::*;

    #[test]
    fn rights_come_from_the_method_options() {
        assert_eq!(required("/pentad.chain.v1.ChainService/GetInfo"), Some(Right::Read));
        assert_eq!(required("/pentad.wallet.v1.WalletService/Send"), Some(Right::Spend));
        assert_eq!(required("/pentad.chain.v1.AssemblyService/GetTemplate"), Some(Right::Internal));
        assert_eq!(required("/pentad.chain.v1.AdminService/Verify"), Some(Right::Admin));
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
    fn what_roles_may_call_is_there() {
        for role in Role::ALL {
            for path in role.methods() {
                assert!(required(path).is_some(), "{role} may call {path}, which there is not");
            }
        }
    }

    #[test]
    fn undeclared_methods_have_no_right() {
        assert_eq!(required("/pentad.chain.v1.ChainService/NoSuchMethod"), None);
        assert_eq!(required("/somebody.Else/Method"), None);
        assert_eq!(required(""), None);
    }
}
