use pentad_api::wallet::v1::Policy as PolicyMessage;
use pentad_crypto::{Address, AddressVersions};
use pentad_keystore::{Keystore, Policy};

use super::PolicyError;

/// Most addresses on a list.
const ALLOWED_MAX: usize = 1000;

/// Checks rules as they were asked for; `None`: there are none.
pub(crate) fn check(
    message: PolicyMessage,
    keystore: &Keystore,
    versions: &AddressVersions,
) -> Result<Option<Policy>, PolicyError> {
    let PolicyMessage { limit_per_day, allowed, approval_above, approver } = message;
    let invalid =
        |field, problem: &str| PolicyError::Invalid { field, problem: problem.to_owned() };
    if allowed.len() > ALLOWED_MAX {
        return Err(invalid("policy.allowed", "more than 1000 addresses"));
    }
    for text in &allowed {
        Address::decode(text, versions)
            .map_err(|problem| invalid("policy.allowed", &format!("{text}: {problem}")))?;
    }
    let approver = (!approver.is_empty()).then_some(approver);
    if approval_above.is_some() && approver.is_none() {
        return Err(invalid("policy.approver", "nobody is there to approve"));
    }
    if let Some(text) = &approver {
        match Address::decode(text, versions) {
            Err(problem) => return Err(invalid("policy.approver", &problem.to_string())),
            Ok(Address::P2sh(_)) => {
                return Err(invalid(
                    "policy.approver",
                    "a script's address has no key to sign with",
                ));
            }
            // Whoever may use this node could approve his own payments.
            Ok(address) if keystore.has_key(&address) => {
                return Err(invalid(
                    "policy.approver",
                    "its key is on this node: it must be another's",
                ));
            }
            Ok(Address::P2pkh(_)) => {}
        }
    }
    let policy = Policy { limit_per_day, allowed, approval_above, approver };
    Ok((!policy.is_empty()).then_some(policy))
}

/// Rules as others may see them.
pub(crate) fn message(policy: &Policy) -> PolicyMessage {
    let Policy { limit_per_day, allowed, approval_above, approver } = policy.clone();
    PolicyMessage { limit_per_day, allowed, approval_above, approver: approver.unwrap_or_default() }
}
