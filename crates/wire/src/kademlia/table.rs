//! The routing table: k-buckets over the whole key space.

use std::net::SocketAddr;
use std::time::Duration;

use super::bucket::Bucket;
use super::contact::{Contact, Subnet};
use super::node_id::{Distance, NodeId};

/// Bounds the memory of the table. An honest network of a million nodes fills about 100.
pub const MAX_BUCKETS: usize = 256;
/// Contacts of one subnet within a bucket, and within the table: who rents one subnet
/// cannot own what this node sees of the key space.
pub const MAX_PER_SUBNET_BUCKET: usize = 4;
/// See [`MAX_PER_SUBNET_BUCKET`].
pub const MAX_PER_SUBNET_TABLE: usize = 16;

/// The contacts of one node. They are in it because they answered, never because they were named.
#[derive(Clone, Debug)]
pub struct RoutingTable {
    own_id: NodeId,
    /// In the order of their ranges; never empty.
    buckets: Vec<Bucket>,
}

/// What became of a contact that was offered to the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Insertion {
    /// A new contact.
    Added,
    /// Known; it is now the most recently seen of its bucket.
    Touched,
    /// There is no room. It waits as a replacement until `challenge` fails, which is to be pinged.
    Cached { challenge: Contact },
    /// The own id, or more of one subnet than the table takes.
    Refused,
}

/// One bucket for display: the ids from `from` on that share its first `depth` bits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BucketView {
    pub from: NodeId,
    pub depth: u32,
    pub contacts: Vec<Contact>,
}

impl RoutingTable {
    /// An empty table at time `now`.
    pub fn new(own_id: NodeId, now: Duration) -> Self {
        Self { own_id, buckets: vec![Bucket::whole(now)] }
    }

    /// Number of contacts.
    pub fn len(&self) -> usize {
        self.buckets.iter().map(Bucket::len).sum()
    }

    /// Whether no contact is known.
    pub fn is_empty(&self) -> bool {
        self.buckets.iter().all(|bucket| bucket.len() == 0)
    }

    /// All contacts, bucket by bucket.
    pub fn contacts(&self) -> impl Iterator<Item = &Contact> {
        self.buckets.iter().flat_map(Bucket::contacts)
    }

    /// The buckets in order of their ranges.
    pub fn buckets(&self) -> Vec<BucketView> {
        self.buckets.iter().map(Bucket::view).collect()
    }

    /// Whether this very contact is in the table.
    pub fn contains(&self, contact: &Contact) -> bool {
        self.bucket(&contact.id).get(&contact.id) == Some(contact)
    }

    /// Whether anybody in the table listens at `endpoint`.
    pub fn contains_endpoint(&self, endpoint: SocketAddr) -> bool {
        self.contacts().any(|contact| contact.endpoint == endpoint)
    }

    /// Takes in a contact that has just shown that its id answers at its endpoint.
    pub fn insert(&mut self, contact: Contact) -> Insertion {
        // Whoever listened there under another id does no longer.
        for bucket in &mut self.buckets {
            bucket.remove_others_at(contact.endpoint, &contact.id);
        }
        if contact.id == self.own_id {
            return Insertion::Refused;
        }
        loop {
            let (index, bucket) = self.bucket_mut(&contact.id);
            if bucket.touch(&contact) {
                return Insertion::Touched;
            }
            if let Some(elsewhere) = bucket.get(&contact.id).copied() {
                bucket.cache(contact);
                return Insertion::Cached { challenge: elsewhere };
            }
            if self.is_crowded(index, &contact) {
                return Insertion::Refused;
            }
            let (_, bucket) = self.bucket_mut(&contact.id);
            if bucket.push(contact) {
                return Insertion::Added;
            }
            if !self.split(index) {
                let (_, bucket) = self.bucket_mut(&contact.id);
                bucket.cache(contact);
                let challenge = bucket.head().unwrap_or(contact);
                return Insertion::Cached { challenge };
            }
        }
    }

    /// Notes that a contact was heard of; false if it is not in the table.
    pub fn touch(&mut self, contact: &Contact) -> bool {
        self.bucket_mut(&contact.id).1.touch(contact)
    }

    /// Notes that a contact left a call unanswered; true if it has left the table for that.
    pub fn fail(&mut self, contact: &Contact) -> bool {
        self.bucket_mut(&contact.id).1.fail(contact)
    }

    /// Up to `count` contacts closest to `target`, closest first, without `target` itself and
    /// without whoever listens at `exclude`.
    pub fn closest(
        &self,
        target: &NodeId,
        count: usize,
        exclude: Option<SocketAddr>,
    ) -> Vec<Contact> {
        let mut contacts: Vec<(Distance, Contact)> = self
            .contacts()
            .filter(|contact| contact.id != *target && Some(contact.endpoint) != exclude)
            .map(|contact| (contact.id.distance(target), *contact))
            .collect();
        contacts.sort_unstable();
        contacts.into_iter().take(count).map(|(_, contact)| contact).collect()
    }

    /// Notes a lookup of `target` at time `now`.
    pub fn looked_up(&mut self, target: &NodeId, now: Duration) {
        self.bucket_mut(target).1.looked_up = now;
    }

    /// Ids to look up, one for each bucket without a lookup since `before`; `random` gives the
    /// bits below each bucket's prefix.
    pub fn stale(&self, before: Duration, mut random: impl FnMut() -> NodeId) -> Vec<NodeId> {
        self.buckets
            .iter()
            .filter(|bucket| bucket.looked_up <= before)
            .map(|bucket| bucket.id_within(&random()))
            .collect()
    }

    fn bucket(&self, id: &NodeId) -> &Bucket {
        let covering = self.buckets.iter().find(|bucket| bucket.contains(id));
        #[allow(clippy::expect_used, reason = "the buckets partition the key space")]
        covering.expect("some bucket covers every id")
    }

    fn bucket_mut(&mut self, id: &NodeId) -> (usize, &mut Bucket) {
        let mut covering = self.buckets.iter_mut().enumerate();
        #[allow(clippy::expect_used, reason = "the buckets partition the key space")]
        covering.find(|(_, bucket)| bucket.contains(id)).expect("some bucket covers every id")
    }

    /// Whether the subnet of `contact` has its share of the bucket at `index` or of the table.
    fn is_crowded(&self, index: usize, contact: &Contact) -> bool {
        let Some(subnet) = Subnet::of(contact.endpoint.ip()) else {
            return false;
        };
        let neighbours = |bucket: &Bucket| {
            bucket.contacts().filter(|it| Subnet::of(it.endpoint.ip()) == Some(subnet)).count()
        };
        self.buckets.get(index).is_some_and(|bucket| bucket.is_crowded(contact))
            || self.buckets.iter().map(neighbours).sum::<usize>() >= MAX_PER_SUBNET_TABLE
    }

    /// Splits the bucket at `index` if the rules allow it.
    fn split(&mut self, index: usize) -> bool {
        let own_id = self.own_id;
        if self.buckets.len() >= MAX_BUCKETS
            || !self.buckets.get(index).is_some_and(|bucket| bucket.may_split(&own_id))
        {
            return false;
        }
        let (low, high) = self.buckets.remove(index).split();
        self.buckets.splice(index..index, [low, high]);
        true
    }
}
