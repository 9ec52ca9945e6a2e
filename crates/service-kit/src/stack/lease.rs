//! A stream may live for weeks: its caller's credential is asked for again and again.

use http::HeaderMap;
use pentad_api::Failure;

use super::{Gate, Method, Origin};

/// What let a stream in, to be checked again. It holds the credential and shows it to nobody.
#[derive(Clone)]
pub(super) struct Lease {
    pub(super) gate: Gate,
    pub(super) path: String,
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) origin: Origin,
}

impl Lease {
    /// Resolves when the credential is not good any more, and says so.
    pub(super) async fn ended(self) -> Failure {
        let Self { gate, path, method, headers, origin } = self;
        loop {
            tokio::time::sleep(gate.trust().pause).await;
            if let Err(refused) = gate.check(&path, Some(method), &headers, &origin) {
                return gate.refuse(&refused, &path, &origin);
            }
        }
    }
}
