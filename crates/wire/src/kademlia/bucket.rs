//! One k-bucket with its replacement cache (Maymounkov & Mazières 2002, sections 2.2 and 4.1).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use super::contact::Subnet;
use super::table::{BucketView, MAX_PER_SUBNET_BUCKET};
use super::{Contact, K, NodeId};

/// Newcomers remembered for when a contact of a full bucket fails; five times k, as in Python.
pub const MAX_REPLACEMENTS: usize = 5 * K;
/// Calls that a contact may leave unanswered in a row. Python allows none; one lost datagram
/// need not cost a neighbour.
const MAX_FAILURES: u8 = 1;

/// The contacts whose ids start with the first `depth` bits of `prefix`, least recently seen
/// first.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    prefix: NodeId,
    depth: u32,
    entries: VecDeque<Entry>,
    replacements: VecDeque<Contact>,
    /// When an id of this range was last looked up.
    pub looked_up: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    contact: Contact,
    failures: u8,
}

impl Bucket {
    /// The bucket of the whole key space.
    pub fn whole(now: Duration) -> Self {
        Self::new(NodeId::from_bytes([0; NodeId::LEN]), 0, now)
    }

    fn new(prefix: NodeId, depth: u32, looked_up: Duration) -> Self {
        Self { prefix, depth, entries: VecDeque::new(), replacements: VecDeque::new(), looked_up }
    }

    pub fn view(&self) -> BucketView {
        let contacts = self.contacts().copied().collect();
        BucketView { from: self.prefix, depth: self.depth, contacts }
    }

    pub fn contains(&self, id: &NodeId) -> bool {
        self.prefix.common_prefix(id) >= self.depth
    }

    pub fn contacts(&self) -> impl Iterator<Item = &Contact> {
        self.entries.iter().map(|entry| &entry.contact)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn head(&self) -> Option<Contact> {
        self.contacts().next().copied()
    }

    pub fn get(&self, id: &NodeId) -> Option<&Contact> {
        self.contacts().find(|contact| contact.id == *id)
    }

    /// An id of this range, the bits below the prefix taken from `random`.
    pub fn id_within(&self, random: &NodeId) -> NodeId {
        random.with_prefix(&self.prefix, self.depth)
    }

    /// Appends a contact that is not here yet; false if the bucket is full.
    pub fn push(&mut self, contact: Contact) -> bool {
        if self.entries.len() >= K {
            return false;
        }
        self.replacements.retain(|other| *other != contact);
        self.entries.push_back(Entry { contact, failures: 0 });
        true
    }

    /// Keeps a contact for when another fails; the oldest such leaves when there are too many.
    pub fn cache(&mut self, contact: Contact) {
        self.replacements.retain(|other| *other != contact);
        if self.replacements.len() >= MAX_REPLACEMENTS {
            self.replacements.pop_front();
        }
        self.replacements.push_back(contact);
    }

    /// Whether the subnet of `contact` has its share of this bucket.
    pub fn is_crowded(&self, contact: &Contact) -> bool {
        let subnet = Subnet::of(contact.endpoint.ip());
        let neighbours = self.contacts().filter(|other| Subnet::of(other.endpoint.ip()) == subnet);
        subnet.is_some() && neighbours.count() >= MAX_PER_SUBNET_BUCKET
    }

    /// Moves a contact that was just heard of to the tail; false if it is not here.
    pub fn touch(&mut self, contact: &Contact) -> bool {
        let Some(entry) = self.remove_entry(contact) else {
            return false;
        };
        self.entries.push_back(Entry { failures: 0, ..entry });
        true
    }

    /// Notes an unanswered call. True if that was one too many: the contact has left, and the
    /// newest replacement stands in its place.
    pub fn fail(&mut self, contact: &Contact) -> bool {
        let Some(entry) = self.entries.iter_mut().find(|entry| entry.contact == *contact) else {
            return false;
        };
        if entry.failures < MAX_FAILURES {
            entry.failures = entry.failures.saturating_add(1);
            return false;
        }
        self.remove(contact);
        true
    }

    /// Drops the contact, in favour of the newest replacement whose id is not here otherwise and
    /// whose subnet has not its share.
    pub fn remove(&mut self, contact: &Contact) {
        self.replacements.retain(|other| other != contact);
        if self.remove_entry(contact).is_none() {
            return;
        }
        let fits = |other: &Contact| self.get(&other.id).is_none() && !self.is_crowded(other);
        let newest = self.replacements.iter().rposition(fits);
        if let Some(newest) = newest.and_then(|index| self.replacements.remove(index)) {
            self.entries.push_back(Entry { contact: newest, failures: 0 });
        }
    }

    /// Drops whatever is known at `endpoint` under another id than `id`.
    pub fn remove_others_at(&mut self, endpoint: SocketAddr, id: &NodeId) {
        let outdated = |contact: &Contact| contact.endpoint == endpoint && contact.id != *id;
        self.replacements.retain(|contact| !outdated(contact));
        let gone: Vec<Contact> = self.contacts().filter(|it| outdated(it)).copied().collect();
        gone.iter().for_each(|contact| self.remove(contact));
    }

    /// Whether a full bucket may split: it holds the own id, or its contacts share a prefix whose
    /// length is no multiple of five (section 4.2; the rule of the Python package).
    pub fn may_split(&self, own: &NodeId) -> bool {
        self.depth < NodeId::BITS && (self.contains(own) || !self.shared_prefix().is_multiple_of(5))
    }

    /// The two halves. Replacements move up where there is room.
    pub fn split(self) -> (Self, Self) {
        let deeper = self.depth.saturating_add(1);
        let mut low = Self::new(self.prefix, deeper, self.looked_up);
        let mut high = Self::new(self.prefix.with_bit(self.depth), deeper, self.looked_up);
        for entry in self.entries {
            let half = if high.contains(&entry.contact.id) { &mut high } else { &mut low };
            half.entries.push_back(entry);
        }
        for contact in self.replacements {
            let half = if high.contains(&contact.id) { &mut high } else { &mut low };
            let fits = half.get(&contact.id).is_none() && !half.is_crowded(&contact);
            if !(fits && half.push(contact)) {
                half.cache(contact);
            }
        }
        (low, high)
    }

    fn shared_prefix(&self) -> u32 {
        let mut contacts = self.contacts();
        let first = contacts.next();
        first.map_or(0, |first| {
            contacts.map(|other| other.id.common_prefix(&first.id)).min().unwrap_or(NodeId::BITS)
        })
    }

    fn remove_entry(&mut self, contact: &Contact) -> Option<Entry> {
        let index = self.entries.iter().position(|entry| entry.contact == *contact)?;
        self.entries.remove(index)
    }
}
