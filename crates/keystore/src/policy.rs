use serde::{Deserialize, Serialize};

/// What holds for the payments of a wallet while it is unlocked. It stands in the wallet's file,
/// authenticated: whoever changes it gives the passphrase.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Most units that leave the wallet within 24 hours, fees included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_per_day: Option<u64>,
    /// Addresses that may be paid; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed: Vec<String>,
    /// Payments of more units wait for the approver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval_above: Option<u64>,
    /// The address whose owner approves; payments to addresses that are not allowed wait for him,
    /// too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approver: Option<String>,
}

impl Policy {
    /// It asks for nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// As JSON in one line: what is authenticated, and what the audit log tells.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("plain fields")
    }
}
