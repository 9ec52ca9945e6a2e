//! Local states and messages by number, and what each move makes of each local state.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher, Hash};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use pentad_pbft::{Input, Message, Recipient, Timer};

use super::local::{Local, Outcome};
use super::{REPLICAS, Scope};
use crate::claim::{self, Claim};

/// Something that happens to one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Move {
    /// It receives the messages of the bundle of this number.
    Deliver(u32),
    /// It receives a bundle, and dies when so many records of what follows are durable.
    DeliverThenCrash(u32, u8),
    Expire(Timer),
    Crash,
    /// It takes the blocks it lacks from the replica in this local state, as nodes sync.
    Sync(u32),
}

/// A message with its receivers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Post {
    pub from: usize,
    /// One bit per receiver.
    pub to: u8,
    pub message: Message,
}

/// What a move came to.
#[derive(Clone, Debug)]
pub struct Moved {
    pub local: u32,
    pub posts: Vec<u32>,
    /// Records written on the way.
    pub records: u8,
}

#[derive(Default)]
struct Inner {
    locals: Vec<Arc<Local>>,
    local_ids: HashMap<u64, u32>,
    posts: Vec<(Arc<Post>, Vec<Claim>)>,
    post_ids: HashMap<u64, u32>,
    bundles: Vec<Arc<[u32]>>,
    bundle_ids: HashMap<Arc<[u32]>, u32>,
    moves: HashMap<(u32, Move), Option<Arc<Moved>>>,
    sayable: HashMap<Vec<u32>, Arc<Vec<u32>>>,
}

/// Grows while the check goes on; shared by its threads.
pub struct Tables {
    pub scope: Scope,
    inner: RwLock<Inner>,
}

/// 64 bits name a local state or message: of the at most some 10^6 here, two have the same name
/// with a chance of some 10^-8.
fn name<T: Hash>(value: &T) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(value)
}

fn number(length: usize) -> u32 {
    u32::try_from(length).expect("fewer than 2^32 states are held")
}

impl Tables {
    #[must_use]
    pub fn new(scope: Scope) -> Self {
        Self { scope, inner: RwLock::default() }
    }

    fn inner(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn inner_mut(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }

    #[must_use]
    pub fn local(&self, id: u32) -> Arc<Local> {
        Arc::clone(&self.inner().locals[id as usize])
    }

    /// The number of a local state without its log.
    pub fn without_log(&self, id: u32) -> u32 {
        let local = self.local(id).without_log();
        self.inner_mut().local_number_of(local)
    }

    #[must_use]
    pub fn post(&self, id: u32) -> Arc<Post> {
        Arc::clone(&self.inner().posts[id as usize].0)
    }

    #[must_use]
    pub fn is_for(&self, post: u32, node: usize) -> bool {
        self.inner().posts[post as usize].0.to & (1 << node) != 0
    }

    #[must_use]
    pub fn is_honest(&self, post: u32) -> bool {
        Some(self.inner().posts[post as usize].0.from) != self.scope.faulty
    }

    /// The number of a post.
    pub fn number_of(&self, post: Post) -> u32 {
        self.inner_mut().number_of(post)
    }

    /// A replica at its very first start.
    pub fn start(&self, node: usize) -> Moved {
        let outcome = Local::start(&self.scope, node);
        self.inner_mut().keep(node, outcome)
    }

    /// What a move makes of a local state; none if nothing.
    pub fn perform(&self, local: u32, happens: Move) -> Option<Arc<Moved>> {
        if let Some(known) = self.inner().moves.get(&(local, happens)) {
            return known.clone();
        }
        let before = self.local(local);
        let node = usize::from(before.own());
        let outcome = match happens {
            Move::Deliver(bundle) | Move::DeliverThenCrash(bundle, _) => {
                let inputs = self.inputs_of(bundle);
                let dies_after = match happens {
                    Move::DeliverThenCrash(_, records) => Some(records),
                    _ => None,
                };
                before.take(&self.scope, inputs, dies_after)
            }
            Move::Expire(timer) => before.expire(&self.scope, timer),
            Move::Crash => before.crash(&self.scope),
            Move::Sync(other) => before.sync(&self.scope, &self.local(other)),
        };
        let mut inner = self.inner_mut();
        let moved = inner.keep(node, outcome);
        let changes = moved.local != local || !moved.posts.is_empty();
        let result = changes.then(|| Arc::new(moved));
        inner.moves.insert((local, happens), result.clone());
        result
    }

    /// The number of a bundle of messages that are received one after the other.
    pub fn bundle(&self, posts: &[u32]) -> u32 {
        if let Some(known) = self.inner().bundle_ids.get(posts) {
            return *known;
        }
        let mut inner = self.inner_mut();
        let posts: Arc<[u32]> = posts.into();
        let next = number(inner.bundles.len());
        let id = *inner.bundle_ids.entry(Arc::clone(&posts)).or_insert(next);
        if id == next {
            inner.bundles.push(posts);
        }
        id
    }

    fn inputs_of(&self, bundle: u32) -> Vec<Input> {
        let posts = Arc::clone(&self.inner().bundles[bundle as usize]);
        let message = |post: &u32| self.post(*post).message.clone();
        posts.iter().map(|post| Input::Message { message: message(post) }).collect()
    }

    /// Records that receiving a bundle writes.
    #[must_use]
    pub fn records_of(&self, local: u32, bundle: u32) -> u8 {
        self.perform(local, Move::Deliver(bundle)).map_or(0, |moved| moved.records)
    }

    /// Whether two messages of one honest replica contradict each other.
    #[must_use]
    pub fn contradict(&self, one: u32, other: u32) -> bool {
        let inner = self.inner();
        let (post, claims) = &inner.posts[one as usize];
        let (other, others) = &inner.posts[other as usize];
        if post.from != other.from || Some(post.from) == self.scope.faulty {
            return false;
        }
        claims.iter().any(|claim| {
            usize::from(claim.sender.get()) == post.from
                && others.iter().any(|other| {
                    let is_same = (claim.sender, claim.kind, claim.view, claim.sequence)
                        == (other.sender, other.kind, other.view, other.sequence);
                    is_same && claim.digest != other.digest
                })
        })
    }

    /// What the faulty replica can say once these posts are known.
    pub fn sayable(&self, faulty: usize, posts: &[u32]) -> Vec<u32> {
        let heard: Vec<u32> = posts.iter().copied().filter(|post| self.is_honest(*post)).collect();
        if let Some(known) = self.inner().sayable.get(&heard) {
            return known.to_vec();
        }
        let messages: Vec<Arc<Post>> = heard.iter().map(|post| self.post(*post)).collect();
        let said = super::adversary::sayable(&self.scope, faulty, &messages);
        let numbers: Vec<u32> = said.into_iter().map(|post| self.number_of(post)).collect();
        self.inner_mut().sayable.insert(heard, Arc::new(numbers.clone()));
        numbers
    }

    #[must_use]
    pub fn describe(&self, happens: Move) -> String {
        match happens {
            Move::Deliver(bundle) => format!("receives {}", self.describe_bundle(bundle)),
            Move::DeliverThenCrash(bundle, records) => {
                let what = self.describe_bundle(bundle);
                format!("receives {what}; dies after {records} records")
            }
            Move::Expire(timer) => format!("its {timer:?} timer runs out"),
            Move::Crash => "crashes and restarts".to_owned(),
            Move::Sync(_) => "takes certified blocks from another".to_owned(),
        }
    }
}

impl Tables {
    fn describe_bundle(&self, bundle: u32) -> String {
        let posts = Arc::clone(&self.inner().bundles[bundle as usize]);
        let describe = |post: &u32| {
            let post = self.post(*post);
            format!("from {}: {}", post.from, claim::describe(&post.message))
        };
        posts.iter().map(describe).collect::<Vec<_>>().join(" + ")
    }
}

impl Inner {
    fn number_of(&mut self, post: Post) -> u32 {
        let name = name(&post);
        let next = number(self.posts.len());
        let id = *self.post_ids.entry(name).or_insert(next);
        if id == next {
            let claims = claim::of(&post.message);
            self.posts.push((Arc::new(post), claims));
        }
        id
    }

    fn local_number_of(&mut self, local: Local) -> u32 {
        let next = number(self.locals.len());
        let id = *self.local_ids.entry(name(&local)).or_insert(next);
        if id == next {
            self.locals.push(Arc::new(local));
        }
        id
    }

    fn keep(&mut self, from: usize, outcome: Outcome) -> Moved {
        let local = self.local_number_of(outcome.local);
        let mut posts: Vec<u32> = outcome
            .sent
            .into_iter()
            .map(|(recipient, message)| {
                let to = match recipient {
                    Recipient::All => ((1 << REPLICAS) - 1) & !(1 << from),
                    Recipient::One(replica) => 1 << replica.get(),
                };
                self.number_of(Post { from, to, message })
            })
            .collect();
        posts.sort_unstable();
        posts.dedup();
        Moved { local, posts, records: outcome.records }
    }
}
