//! Who is behind which link, and when each was heard last.

use std::time::{Duration, Instant};

use bytes::Bytes;
use pentad_pbft::secp::SecpKeys;
use pentad_pbft::{Credentials, Message, Phase, ReplicaId};

use crate::body;
use crate::subject::Subject;

/// Checking every signature twice would cost too much; once in a while tells enough.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// What is known of each replica.
#[derive(Debug)]
pub(super) struct Routes {
    subject: Subject,
    replicas: Vec<Route>,
}

#[derive(Clone, Debug, Default)]
struct Route {
    link: Bytes,
    heard: Option<Instant>,
    /// Seconds by which its last proposal's time was ahead of our clock.
    skew: Option<i64>,
}

impl Routes {
    pub(super) fn new(replicas: usize, subject: Subject) -> Self {
        Self { subject, replicas: vec![Route::default(); replicas] }
    }

    /// A message came by a link. What it claims counts once its signature was seen to be right:
    /// then its sender is the answer.
    pub(super) fn on_message(
        &mut self,
        message: &Message,
        link: &Bytes,
        credentials: &Credentials<SecpKeys>,
        now_unix: i64,
    ) -> Option<ReplicaId> {
        let sender = message.sender()?;
        let route = self.replicas.get_mut(usize::from(sender.get()))?;
        let is_recent = route.heard.is_some_and(|heard| heard.elapsed() < CHECK_INTERVAL);
        if is_recent && route.link == *link || !is_authentic(message, credentials) {
            return None;
        }
        route.link = link.clone();
        route.heard = Some(Instant::now());
        // A block of work has its miner's time.
        if let Message::PrePrepare(proposal) = message
            && self.subject == Subject::NextBlock
            && let Some(time) = body::time(&proposal.body)
        {
            route.skew = Some(i64::from(time) - now_unix);
        }
        Some(sender)
    }

    pub(super) fn on_closed(&mut self, link: &Bytes) {
        for route in &mut self.replicas {
            if route.link == *link {
                route.link = Bytes::new();
            }
        }
    }

    /// The link to a replica; empty when it is unknown.
    pub(super) fn link(&self, replica: ReplicaId) -> Bytes {
        let route = self.replicas.get(usize::from(replica.get()));
        route.map(|route| route.link.clone()).unwrap_or_default()
    }

    /// Since when each replica has been silent.
    pub(super) fn since_heard(&self) -> Vec<Option<Duration>> {
        self.replicas.iter().map(|route| route.heard.as_ref().map(Instant::elapsed)).collect()
    }

    /// By how many seconds each replica's clock seems to be ahead.
    pub(super) fn skews(&self) -> Vec<Option<i64>> {
        self.replicas.iter().map(|route| route.skew).collect()
    }
}

fn is_authentic(message: &Message, credentials: &Credentials<SecpKeys>) -> bool {
    match message {
        Message::PrePrepare(proposal) => credentials.is_authentic(&proposal.signed),
        Message::Prepare(vote) => credentials.is_authentic(&vote.of(Phase::Prepare)),
        Message::Commit(vote) => credentials.is_authentic(&vote.of(Phase::Commit)),
        Message::Checkpoint(message) => credentials.is_authentic(message),
        Message::ViewChange(message) => credentials.is_authentic(message),
        // Anybody may pass it on.
        Message::NewView(_) | Message::Body(_) | Message::Certified(_) => false,
        Message::FetchBody(message) => credentials.is_authentic(message),
    }
}
