//! Opens links to other nodes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use pentad_wire::Direction;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tracing::Instrument as _;

use super::{Event, Hub};
use crate::addresses::Ending;
use crate::link::{self, Local};

/// How long a TCP connection may take to open, the look-up of its name included.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

impl Hub {
    /// Dials whoever is due.
    pub(super) fn dial_due(&mut self) {
        let connected: BTreeSet<_> = self.peers.values().map(|peer| peer.key).collect();
        let is_outbound = |peer: &&super::Peer| peer.direction == Direction::Outbound;
        let outbound = self.peers.values().filter(is_outbound).count();
        let now = self.now();
        for address in self.parts.addresses.due(now, &connected, outbound) {
            let local = Arc::clone(&self.parts.local);
            let span = tracing::info_span!(parent: None, "link", to = address);
            self.parts.links.spawn(dial(local, address).instrument(span));
        }
    }

    pub(super) fn on_unreachable(&mut self, address: &str) {
        let now = self.now();
        self.parts.addresses.on_end(address, now, Ending::Early);
    }
}

/// Dials an address and runs the link to its end.
async fn dial(local: Arc<Local>, address: String) {
    let events = local.events.clone();
    let event = match timeout(CONNECT_TIME_MAX, connect(&address)).await {
        Ok(Ok((stream, remote))) => {
            let started = Instant::now();
            let dialed = Some(address.clone());
            let (peer, end) = link::run(local, stream, remote, dialed, || {}).await;
            let lived = started.elapsed();
            Event::Ended { peer, dialed: Some(address), lived, end }
        }
        Ok(Err(error)) => {
            tracing::debug!(%error, "cannot connect");
            Event::Unreachable { address }
        }
        Err(_) => {
            tracing::debug!("no connection within {CONNECT_TIME_MAX:?}");
            Event::Unreachable { address }
        }
    };
    if events.send(event).await.is_err() {
        tracing::trace!("the peer service has stopped");
    }
}

async fn connect(address: &str) -> std::io::Result<(TcpStream, std::net::SocketAddr)> {
    let stream = TcpStream::connect(address).await?;
    let remote = stream.peer_addr()?;
    Ok((stream, remote))
}
