use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::iter::Peekable;
use std::sync::{LazyLock, OnceLock};

use hashbrown::HashTable;
use pentad_primitives::BlockHash;

use crate::rows::{Row, Rows, Table};

/// One move of the tip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// This block was put on the tip.
    Connect(BlockHash),
    /// This block was the tip.
    Disconnect(BlockHash),
}

/// Changes that are not in the engine yet: what lies under them there is out of date.
///
/// The rows stay in the buffers that they came in. A hash table finds the last change of a key; an
/// order by key is made when first asked for, once the layer is sealed.
#[derive(Debug, Default)]
pub struct Layer {
    chunks: Vec<Chunk>,
    table: HashTable<Slot>,
    /// The first change of each coin that lies below and changed more than once: only a
    /// reorganisation does that.
    firsts: HashMap<Box<[u8]>, Change>,
    sorted: OnceLock<Box<[Change]>>,
    steps: Vec<Step>,
}

/// The rows of one step.
#[derive(Debug)]
struct Chunk {
    rows: Rows,
    /// Rows that were added are present now; backwards, those that were removed.
    is_forwards: bool,
}

/// The last change of a key. A layer holds tens of thousands, so they are packed.
#[derive(Clone, Copy, Debug)]
struct Change {
    /// Its lowest bit: the first change in this layer brought the row of a block into being, and
    /// nothing lies below. The others: the number of the chunk.
    chunk_and_is_new: u32,
    row: u32,
}

impl Change {
    fn new(chunk: u32, row: u32, is_new: bool) -> Self {
        Self { chunk_and_is_new: chunk << 1 | u32::from(is_new), row }
    }

    fn chunk(self) -> usize {
        (self.chunk_and_is_new >> 1) as usize
    }

    fn is_new(self) -> bool {
        self.chunk_and_is_new & 1 == 1
    }

    fn with_new(self, is_new: bool) -> Self {
        Self { chunk_and_is_new: self.chunk_and_is_new & !1 | u32::from(is_new), ..self }
    }
}

#[derive(Debug)]
struct Slot {
    /// Half of the key's hash.
    hash: u32,
    change: Change,
}

impl Slot {
    /// The table looks at the highest and the lowest bits.
    fn table_hash(&self) -> u64 {
        table_hash(self.hash)
    }
}

fn table_hash(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

/// A key that is looked for in several layers.
#[derive(Clone, Copy, Debug)]
pub struct HashedKey<'a> {
    key: &'a [u8],
    hash: u32,
}

/// The value that a layer gives a key, `None` where it removes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed<'a> {
    pub key: &'a [u8],
    pub value: Option<&'a [u8]>,
    /// What a block's row held before the first change in the layer, if it was there.
    before: Option<&'a [u8]>,
    /// Nothing lies below this change.
    is_new: bool,
}

/// What layers make of a coin, all in all: never twice the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Net<'a> {
    pub key: &'a [u8],
    pub before: Option<&'a [u8]>,
    pub after: Option<&'a [u8]>,
}

/// What the keys of unspent outputs begin with.
const COINS: &[u8] = &[Table::Utxo as u8];

/// Seeded once per process: whoever makes transactions cannot aim at one place of the tables.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl<'a> HashedKey<'a> {
    pub fn new(key: &'a [u8]) -> Self {
        let [a, b, c, d, ..] = HASHER.hash_one(key).to_le_bytes();
        Self { key, hash: u32::from_le_bytes([a, b, c, d]) }
    }
}

fn small(count: usize) -> u32 {
    u32::try_from(count).expect("a layer is smaller than 4 GiB")
}

impl Layer {
    /// The changed value of a key: `Some(None)` when it was removed.
    pub fn get(&self, key: HashedKey<'_>) -> Option<Option<&[u8]>> {
        let is_it = |slot: &Slot| slot.hash == key.hash && self.key(slot.change) == key.key;
        let slot = self.table.find(table_hash(key.hash), is_it)?;
        Some(self.changed(slot.change).value)
    }

    /// Sets the value of a key.
    pub fn set(&mut self, key: &[u8], value: &[u8]) {
        let mut rows = Rows::with_capacity(1, key.len() + value.len());
        let value = rows.value(|bytes| bytes.extend_from_slice(value));
        rows.push(true, &[key], value);
        self.take(Chunk { rows, is_forwards: true }, false);
    }

    /// Applies the rows of a block that becomes the tip, or of the tip that goes.
    pub fn step(&mut self, step: Step, rows: Rows) {
        let is_forwards = matches!(step, Step::Connect(_));
        self.take(Chunk { rows, is_forwards }, true);
        self.steps.push(step);
    }

    fn take(&mut self, chunk: Chunk, of_block: bool) {
        self.sorted.take();
        let count = chunk.rows.len();
        let is_forwards = chunk.is_forwards;
        let number = small(self.chunks.len());
        self.chunks.push(chunk);
        self.table.reserve(count, Slot::table_hash);
        for at in 0..count {
            let row = if is_forwards { at } else { count - 1 - at };
            self.note(Change::new(number, small(row), of_block));
        }
    }

    /// Makes a row the last change of its key.
    fn note(&mut self, change: Change) {
        let Self { chunks, table, firsts, .. } = self;
        let key = HashedKey::new(key_of(chunks, change));
        let is_it = |slot: &Slot| slot.hash == key.hash && key_of(chunks, slot.change) == key.key;
        match table.find_mut(table_hash(key.hash), is_it) {
            Some(slot) => {
                let (first, is_new) = (slot.change, slot.change.is_new());
                if !is_new && is_coin(key.key) && !firsts.contains_key(key.key) {
                    firsts.insert(key.key.into(), first);
                }
                slot.change = change.with_new(is_new);
            }
            None => {
                let is_new = change.is_new() && changed(chunks, change).value.is_some();
                let slot = Slot { hash: key.hash, change: change.with_new(is_new) };
                table.insert_unique(slot.table_hash(), slot, Slot::table_hash);
            }
        }
    }

    fn key(&self, change: Change) -> &[u8] {
        key_of(&self.chunks, change)
    }

    fn changed(&self, change: Change) -> Changed<'_> {
        let last = changed(&self.chunks, change);
        let before = match self.firsts.get(last.key) {
            Some(first) => changed(&self.chunks, *first).before,
            None => last.before.filter(|_| !last.is_new),
        };
        Changed { before, ..last }
    }

    /// Puts the changes into the order of their keys, which ranges and descents need: done before
    /// readers see the layer, none of them has to.
    pub fn sort(&self) {
        self.sorted();
    }

    fn sorted(&self) -> &[Change] {
        /// Enough of a key to tell most scripts and all transactions apart.
        fn head(key: &[u8]) -> u128 {
            let mut head = [0; 16];
            let length = key.len().min(head.len());
            head[..length].copy_from_slice(&key[..length]);
            u128::from_be_bytes(head)
        }
        self.sorted.get_or_init(|| {
            let heads = self.table.iter().map(|slot| (head(self.key(slot.change)), slot.change));
            let mut heads: Vec<_> = heads.collect();
            heads.sort_unstable_by(|(one, a), (other, b)| {
                one.cmp(other).then_with(|| self.key(*a).cmp(self.key(*b)))
            });
            heads.into_iter().map(|(_, change)| change).collect()
        })
    }

    /// Changes of keys that begin with `prefix` and lie behind `after` and not behind `last`.
    pub fn range<'a>(
        &'a self,
        prefix: &'a [u8],
        after: Option<&'a [u8]>,
        last: Option<&'a [u8]>,
    ) -> impl Iterator<Item = Changed<'a>> {
        let sorted = self.sorted();
        let start = match after {
            Some(after) if after >= prefix => sorted.partition_point(|c| self.key(*c) <= after),
            _ => sorted.partition_point(|change| self.key(*change) < prefix),
        };
        sorted[start..].iter().map(|change| self.changed(*change)).take_while(move |changed| {
            changed.key.starts_with(prefix) && last.is_none_or(|last| changed.key <= last)
        })
    }

    /// The moves of the tip in this layer.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Every change, in key order.
    pub fn changes(&self) -> impl Iterator<Item = Changed<'_>> {
        self.sorted().iter().map(|change| self.changed(*change))
    }

    /// Bytes that the layer holds in memory, about.
    pub fn bytes(&self) -> usize {
        let rows = self.chunks.iter().map(|chunk| chunk.rows.memory_bytes()).sum::<usize>();
        // A byte of the table tells whether a slot is taken; the order holds every change again.
        let of_slot = size_of::<Slot>() + 1;
        rows + self.table.capacity() * of_slot + self.table.len() * size_of::<Change>()
    }

    /// How many keys changed.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Nothing changed.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty() && self.steps.is_empty()
    }
}

fn key_of(chunks: &[Chunk], change: Change) -> &[u8] {
    chunks[change.chunk()].rows.row(change.row as usize).key()
}

fn changed(chunks: &[Chunk], change: Change) -> Changed<'_> {
    let chunk = &chunks[change.chunk()];
    let (key, value, before) = match (chunk.rows.row(change.row as usize), chunk.is_forwards) {
        (Row::Added(key, value), true) | (Row::Removed(key, value), false) => {
            (key, Some(value), None)
        }
        (Row::Added(key, value), false) | (Row::Removed(key, value), true) => {
            (key, None, Some(value))
        }
    };
    Changed { key, value, before, is_new: change.is_new() }
}

/// The changes of several layers, oldest first, as one: in key order, the newest of each key, but
/// for rows that came and went within them.
pub fn merged<'a>(
    layers: impl Iterator<Item = &'a Layer>,
) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
    let mut sources: Vec<_> = layers.map(|layer| layer.changes().peekable()).collect();
    std::iter::from_fn(move || {
        loop {
            let (oldest, newest) = next_key(&mut sources)?;
            if newest.value.is_some() || !oldest.is_new {
                return Some((newest.key, newest.value));
            }
        }
    })
}

/// What the layers, oldest first, make of the unspent outputs.
pub fn net_coins<'a>(layers: impl Iterator<Item = &'a Layer>) -> impl Iterator<Item = Net<'a>> {
    let mut sources: Vec<_> =
        layers.map(|layer| layer.range(COINS, None, None).peekable()).collect();
    std::iter::from_fn(move || {
        loop {
            let (oldest, newest) = next_key(&mut sources)?;
            if oldest.before != newest.value {
                let (before, after) = (oldest.before, newest.value);
                return Some(Net { key: newest.key, before, after });
            }
        }
    })
}

/// The changes of the next key of any source: the oldest source's, and the newest one's.
fn next_key<'a>(
    sources: &mut [Peekable<impl Iterator<Item = Changed<'a>>>],
) -> Option<(Changed<'a>, Changed<'a>)> {
    let key = sources.iter_mut().filter_map(|source| Some(source.peek()?.key)).min()?;
    let mut of_key = sources.iter_mut().filter_map(|source| source.next_if(|it| it.key == key));
    let oldest = of_key.next()?;
    Some((oldest, of_key.last().unwrap_or(oldest)))
}

fn is_coin(key: &[u8]) -> bool {
    key.starts_with(COINS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(list: &[(bool, &str)]) -> Rows {
        let mut rows = Rows::default();
        for (is_added, key) in list {
            let value = rows.value(|bytes| bytes.push(b'v'));
            rows.push(*is_added, &[key.as_bytes()], value);
        }
        rows
    }

    fn down(layers: &[Layer]) -> Vec<(String, bool)> {
        let text = |key: &[u8]| String::from_utf8(key.to_vec()).expect("text");
        merged(layers.iter()).map(|(key, value)| (text(key), value.is_some())).collect()
    }

    fn connect() -> Step {
        Step::Connect(BlockHash::ZERO)
    }

    fn disconnect() -> Step {
        Step::Disconnect(BlockHash::ZERO)
    }

    #[test]
    fn rows_that_came_and_went_do_not_go_down() {
        let [mut first, mut second, mut third] = [(); 3].map(|()| Layer::default());
        first.step(connect(), rows(&[(true, "both"), (true, "within"), (false, "within")]));
        second.step(connect(), rows(&[(false, "both"), (false, "old"), (true, "stays")]));
        let old = ("old".to_owned(), false);
        assert_eq!(down(&[first, second]), [old, ("stays".to_owned(), true)]);

        // A row that was there before may be taken, given back and taken again.
        let [mut first, mut second] = [(); 2].map(|()| Layer::default());
        first.step(connect(), rows(&[(false, "old")]));
        second.step(disconnect(), rows(&[(false, "old")]));
        third.step(connect(), rows(&[(false, "old")]));
        assert_eq!(down(&[first, second, third]), [("old".to_owned(), false)]);
    }

    #[test]
    fn what_a_disconnection_takes_goes_down_even_if_it_comes_again() {
        let [mut first, mut second, mut third] = [(); 3].map(|()| Layer::default());
        first.step(disconnect(), rows(&[(true, "a"), (false, "b")]));
        second.step(connect(), rows(&[(true, "a"), (false, "b")]));
        third.step(disconnect(), rows(&[(true, "a"), (false, "b")]));
        // "b" was not there when it was given back: taking it again leaves nothing.
        assert_eq!(down(&[first, second]), [("a".to_owned(), true)]);
        assert_eq!(down(&[third]), [("a".to_owned(), false), ("b".to_owned(), true)]);
    }

    #[test]
    fn a_row_that_was_set_by_name_is_never_taken_for_new() {
        let [mut first, mut second] = [(); 2].map(|()| Layer::default());
        first.set(b"x", b"1");
        second.step(connect(), rows(&[(false, "x")]));
        assert_eq!(down(&[first, second]), [("x".to_owned(), false)]);
    }
    /// Keys with the values, of one byte, before and after.
    fn net(layers: &[Layer]) -> Vec<(String, Option<u8>, Option<u8>)> {
        let text = |key: &[u8]| String::from_utf8(key.to_vec()).expect("text");
        let byte = |value: Option<&[u8]>| value.map(|value| value[0]);
        let nets = net_coins(layers.iter());
        nets.map(|it| (text(it.key), byte(it.before), byte(it.after))).collect()
    }

    fn valued(list: &[(bool, &str, u8)]) -> Rows {
        let mut rows = Rows::default();
        for (is_added, key, value) in list {
            let value = rows.value(|bytes| bytes.push(*value));
            rows.push(*is_added, &[key.as_bytes()], value);
        }
        rows
    }

    #[test]
    fn coins_that_came_and_went_are_no_net_change() {
        let [mut first, mut second] = [(); 2].map(|()| Layer::default());
        first.set(b"b", b"1");
        first.step(connect(), valued(&[(true, "u1", 1), (true, "u2", 2), (false, "u2", 2)]));
        first.step(connect(), valued(&[(true, "t", 1), (false, "u0", 7), (true, "u3", 3)]));
        second.step(connect(), valued(&[(false, "u1", 1), (true, "u4", 4)]));
        let expected = [
            ("u0".to_owned(), Some(7), None),
            ("u3".to_owned(), None, Some(3)),
            ("u4".to_owned(), None, Some(4)),
        ];
        assert_eq!(net(&[first, second]), expected);
    }

    /// A transaction that another branch confirms at another height changes its coins.
    #[test]
    fn what_was_below_is_what_the_first_change_says() {
        let (old, new) = (valued(&[(true, "u", 5), (false, "uv", 1)]), (true, "u", 6));
        let mut one = Layer::default();
        one.step(disconnect(), old);
        one.step(connect(), valued(&[new, (false, "uv", 1)]));
        let expected = [("u".to_owned(), Some(5), Some(6)), ("uv".to_owned(), Some(1), None)];
        // "uv" was spent before, and is again.
        assert_eq!(net(&[one]), expected[..1]);
        let [mut first, mut second, mut third] = [(); 3].map(|()| Layer::default());
        first.step(connect(), valued(&[(false, "uv", 1), (false, "u", 5)]));
        second.step(disconnect(), valued(&[(false, "uv", 1), (false, "u", 5)]));
        third.step(connect(), valued(&[(false, "uv", 1)]));
        assert_eq!(net(&[first, second, third]), expected[1..]);
        let mut within = Layer::default();
        within.step(connect(), valued(&[(false, "u", 5)]));
        within.step(disconnect(), valued(&[(false, "u", 5)]));
        within.step(disconnect(), valued(&[(true, "u", 5)]));
        within.step(connect(), valued(&[(true, "u", 6), (false, "u", 6), (true, "u", 6)]));
        assert_eq!(net(&[within]), expected[..1]);
    }
}
