//! Virtual time: events in the order of their time, ties in the order of their scheduling.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// Virtual milliseconds since the start of the run.
pub type Millis = u64;

#[derive(Debug)]
pub struct EventQueue<E> {
    now: Millis,
    next_ticket: u64,
    order: BinaryHeap<Reverse<(Millis, u64)>>,
    events: BTreeMap<u64, E>,
}

impl<E> Default for EventQueue<E> {
    fn default() -> Self {
        Self { now: 0, next_ticket: 0, order: BinaryHeap::new(), events: BTreeMap::new() }
    }
}

impl<E> EventQueue<E> {
    #[must_use]
    pub const fn now(&self) -> Millis {
        self.now
    }

    pub fn schedule(&mut self, after: Millis, event: E) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.order.push(Reverse((self.now + after, ticket)));
        self.events.insert(ticket, event);
    }

    /// The next event not later than `until`; time moves to it, or to `until` if there is none.
    pub fn pop(&mut self, until: Millis) -> Option<E> {
        match self.order.peek() {
            Some(Reverse((at, ticket))) if *at <= until => {
                let (at, ticket) = (*at, *ticket);
                self.order.pop();
                self.now = at;
                self.events.remove(&ticket)
            }
            _ => {
                self.now = self.now.max(until);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_then_by_order_of_scheduling() {
        let mut queue = EventQueue::default();
        queue.schedule(5, "c");
        queue.schedule(1, "a");
        queue.schedule(5, "d");
        queue.schedule(2, "b");
        let order: Vec<_> = std::iter::from_fn(|| queue.pop(4)).collect();
        assert_eq!(order, ["a", "b"]);
        assert_eq!(queue.now(), 4);
        let rest: Vec<_> = std::iter::from_fn(|| queue.pop(9)).collect();
        assert_eq!(rest, ["c", "d"]);
        assert_eq!(queue.now(), 9);
    }
}
