//! Names of bootstrap nodes.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::debug;

/// How long a name server may take.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Addresses taken of one name.
const ADDRESSES_PER_NAME_MAX: usize = 8;

/// The endpoints of several `host:port`, all asked for at once. Names that have none at the
/// moment are left out: they are asked for again before the next attempt to join.
pub(super) async fn resolve(names: Vec<String>) -> Vec<SocketAddr> {
    let lookups: JoinSet<Vec<SocketAddr>> = names.into_iter().map(resolve_one).collect();
    lookups.join_all().await.concat()
}

async fn resolve_one(name: String) -> Vec<SocketAddr> {
    match timeout(RESOLVE_TIMEOUT, lookup_host(&name)).await {
        Ok(Ok(endpoints)) => endpoints.take(ADDRESSES_PER_NAME_MAX).collect(),
        Ok(Err(error)) => {
            debug!(name, %error, "a bootstrap name does not resolve");
            Vec::new()
        }
        Err(_) => {
            debug!(name, "a bootstrap name does not resolve in time");
            Vec::new()
        }
    }
}
