//! Accepts connections of other nodes, whatever they do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pentad_wire::handshake::Reason;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::door::{Door, Pass, Presence};
use crate::hub::Event;
use crate::link::{self, End, Local};
use crate::log_quota::LogQuota;
use crate::metrics::PeerMetrics;

/// Pause after a failed accept: out of file descriptors, retrying at once would only burn the CPU.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Failed handshakes that are logged in a minute.
const LOG_LINES_MAX: u32 = 10;

/// Accepts for ever.
pub(crate) async fn accept(
    listener: TcpListener,
    local: Arc<Local>,
    door: Door,
    metrics: PeerMetrics,
    links: TaskTracker,
) {
    let log = Arc::new(LogQuota::new(LOG_LINES_MAX));
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        match door.enter(address.ip(), Instant::now()) {
            Ok(admitted) => {
                let span = tracing::info_span!(parent: None, "link", from = %address);
                let link = receive(Arc::clone(&local), stream, address, admitted, Arc::clone(&log));
                links.spawn(link.instrument(span));
            }
            Err(reason) => {
                tracing::debug!(%address, ?reason, "turned away");
                metrics.turned_away.inc();
            }
        }
    }
}

async fn receive(
    local: Arc<Local>,
    stream: TcpStream,
    address: SocketAddr,
    (pass, _presence): (Pass, Presence),
    log: Arc<LogQuota>,
) {
    let started = Instant::now();
    let events = local.events.clone();
    let mut pass = Some(pass);
    let on_open = || pass.take().into_iter().for_each(Pass::succeed);
    let (peer, end) = link::run(local, stream, address, None, on_open).await;
    if peer.is_none() && !end.is_feeler() {
        match &end {
            // Two nodes that start at one time dial each other.
            End::Refused { reason: Reason::Duplicate, .. } => tracing::debug!(%end, "not a peer"),
            _ if !log.take(Instant::now()) => {}
            End::Incompatible(_) | End::Refused { .. } => tracing::warn!(%end, "not a peer"),
            end => tracing::info!(%end, "not a peer"),
        }
    }
    let lived = started.elapsed();
    if events.send(Event::Ended { peer, dialed: None, lived, end }).await.is_err() {
        tracing::trace!("the peer service has stopped");
    }
}
