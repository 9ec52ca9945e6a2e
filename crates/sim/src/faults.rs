//! What a scenario does to nodes and links.

use pentad_pbft::{Input, Message, View};

use crate::network::NodeId;
use crate::queue::Millis;
use crate::world::{Event, Filter, World};

impl World {
    /// Kills the process: memory is gone, and of the records not yet synced a prefix survives.
    pub fn crash(&mut self, node: NodeId) {
        self.totals.crashes += 1;
        self.trace.line(self.queue.now(), node, || "crashes".to_owned());
        let it = &mut self.nodes[node];
        it.forget_memory();
        if self.setup.sends_before_sync {
            it.disk.crash_losing_all_unsynced();
        } else {
            it.disk.crash(&mut self.rng);
        }
    }

    /// Kills the process and starts it again later.
    pub fn crash_for(&mut self, node: NodeId, duration: Millis) {
        self.crash(node);
        self.queue.schedule(duration, Event::Restart { node });
    }

    /// Stops the process without killing it (SIGSTOP, a long collection, a slow disk).
    pub fn pause_for(&mut self, node: NodeId, duration: Millis) {
        if !self.nodes[node].is_up() {
            return;
        }
        self.trace.line(self.queue.now(), node, || format!("pauses for {duration} ms"));
        let life = self.nodes[node].life;
        self.nodes[node].is_paused = true;
        self.queue.schedule(duration, Event::Resume { node, life });
    }

    /// Cuts every link of `node`, both ways.
    pub fn isolate(&mut self, node: NodeId) {
        let others: Vec<NodeId> = (0..self.nodes.len()).filter(|other| *other != node).collect();
        self.network.partition(&[&[node], &others]);
        self.trace.line(self.queue.now(), node, || "is isolated".to_owned());
    }

    /// Lets only those messages through that `passes` names, by sender, receiver and content.
    pub fn filter(&mut self, passes: impl Fn(NodeId, NodeId, &Message) -> bool + 'static) {
        self.filter = Some(Filter(Box::new(passes)));
    }

    /// The driver of `node` holds its primary to be faulty.
    pub fn suspect(&mut self, node: NodeId) {
        let view = View::new(self.view(node));
        self.feed(node, Input::Suspect { view });
    }

    /// Mends all links, and starts whatever is down.
    pub fn heal(&mut self, links: crate::network::LinkModel) {
        self.network.heal();
        self.filter = None;
        self.network.set_model(links);
        self.setup.crash_at_sync_per_mille = 0;
        for node in 0..self.nodes.len() {
            if !self.nodes[node].is_up() && self.nodes[node].halted.is_none() {
                self.start(node);
            }
        }
        self.trace.line(self.queue.now(), 0, || "the network heals".to_owned());
    }
}
