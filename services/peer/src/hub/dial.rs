//! Opens links to other nodes.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pentad_wire::Direction;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tracing::Instrument as _;

use super::{Event, Hub};
use crate::addresses::Ending;
use crate::link::{self, Local, feeler};

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

    /// Sends a feeler if one is due.
    pub(super) fn send_feeler(&mut self) {
        let Some(pause) = self.parts.config.feeler() else { return };
        let now = self.now();
        if now.saturating_sub(self.felt) < pause {
            return;
        }
        self.felt = now;
        let connected = self.peers.values().map(|peer| peer.key).collect();
        if let Some(address) = self.parts.addresses.due_feeler(now, &connected) {
            let local = Arc::clone(&self.parts.local);
            let span = tracing::info_span!(parent: None, "feeler", to = address);
            self.parts.links.spawn(feel(local, address).instrument(span));
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
    let event = match connect(&address).await {
        Some((stream, remote)) => {
            let started = Instant::now();
            let dialed = Some(address.clone());
            let (peer, end) = link::run(local, stream, remote, dialed, || {}).await;
            let lived = started.elapsed();
            Event::Ended { peer, dialed: Some(address), lived, end }
        }
        None => Event::Unreachable { address },
    };
    tell(&events, event).await;
}

/// Looks who is at an address, and goes.
async fn feel(local: Arc<Local>, address: String) {
    let event = match connect(&address).await {
        Some((stream, _)) => {
            let outcome = feeler::feel(&local, stream).await;
            Event::Felt { address, outcome }
        }
        None => Event::Unreachable { address },
    };
    tell(&local.events, event).await;
}

async fn tell(events: &mpsc::Sender<Event>, event: Event) {
    if events.send(event).await.is_err() {
        tracing::trace!("the peer service has stopped");
    }
}

async fn connect(address: &str) -> Option<(TcpStream, SocketAddr)> {
    let connecting = async {
        let stream = TcpStream::connect(address).await?;
        let remote = stream.peer_addr()?;
        Ok::<_, io::Error>((stream, remote))
    };
    match timeout(CONNECT_TIME_MAX, connecting).await {
        Ok(Ok(connected)) => Some(connected),
        Ok(Err(error)) => {
            tracing::debug!(%error, "cannot connect");
            None
        }
        Err(_) => {
            tracing::debug!("no connection within {CONNECT_TIME_MAX:?}");
            None
        }
    }
}
