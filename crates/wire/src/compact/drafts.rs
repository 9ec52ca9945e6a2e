use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use pentad_primitives::{BlockHash, BlockHeader, Txid};

use super::{CompactBlock, MISSING_MAX, ShortId, ShortIds};
use crate::rate::{Meter, Rate};
use crate::{PeerId, Recent};

/// Compact blocks that wait for transactions, over all peers; one of each.
const DRAFTS_MAX: usize = 16;
/// How long a peer may take to send what is missing.
const PATIENCE: Duration = Duration::from_secs(2);
/// Of one block, from different peers: one of them may hold the rest back.
const DRAFTS_PER_BLOCK_MAX: usize = 2;
/// Compact blocks of one peer that are looked at: four a second, 40 at once. To find what they mean
/// takes a pass over the mempool, milliseconds if it is large; others are asked for whole.
const PER_PEER: Rate = Rate { interval: Duration::from_millis(250), burst: 40 };
/// The same of all peers: 20 a second, 100 at once.
const OVERALL: Rate = Rate { interval: Duration::from_millis(50), burst: 100 };
/// Blocks lately put together that are remembered.
const ASSEMBLED_MAX: usize = 256;

/// The compact blocks that are being put together. Times count from any fixed start.
#[derive(Debug)]
pub struct Drafts {
    drafts: BTreeMap<PeerId, Draft>,
    meters: BTreeMap<PeerId, Meter>,
    overall: Meter,
    assembled: Recent,
}

impl Default for Drafts {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Debug)]
struct Draft {
    hash: BlockHash,
    header: [u8; BlockHeader::LEN],
    /// All of the block; none: missing.
    transactions: Vec<Option<Bytes>>,
    certificate: Bytes,
    since: Duration,
}

/// What to do about a compact block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: it is ignored, or waited for.
    Wait,
    /// Ask its sender for the transactions at these places.
    Ask {
        /// Of which block.
        hash: BlockHash,
        /// Ascending.
        places: Vec<u32>,
    },
    /// Ask its sender for the whole block.
    AskWhole(BlockHash),
    /// All parts are there; see [`super::assemble`].
    Assemble {
        /// Which block.
        hash: BlockHash,
        /// Its header.
        header: [u8; BlockHeader::LEN],
        /// All transactions in order.
        transactions: Vec<Bytes>,
        /// As it came.
        certificate: Bytes,
    },
}

impl Drafts {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self {
            drafts: BTreeMap::new(),
            meters: BTreeMap::new(),
            overall: Meter::default(),
            assembled: Recent::new(ASSEMBLED_MAX),
        }
    }

    /// A peer sent a compact block that is of use; `mempool` is what is here.
    pub fn on_compact(
        &mut self,
        now: Duration,
        peer: PeerId,
        block: CompactBlock,
        mempool: &HashMap<Txid, Bytes>,
    ) -> Step {
        let hash = block.hash();
        let of_it = self.drafts.values().filter(|draft| draft.hash == hash).count();
        if self.assembled.contains(hash.as_bytes()) || of_it >= DRAFTS_PER_BLOCK_MAX {
            return Step::Wait;
        }
        let is_busy = self.drafts.contains_key(&peer) || self.drafts.len() >= DRAFTS_MAX;
        if is_busy
            || !self.meters.entry(peer).or_default().allows(&PER_PEER, now)
            || !self.overall.allows(&OVERALL, now)
        {
            return Step::AskWhole(hash);
        }
        let Some(transactions) = find(&block, mempool) else {
            return Step::AskWhole(hash);
        };
        let missing = places(&transactions);
        let CompactBlock { header, certificate, .. } = block;
        let draft = Draft { hash, header, transactions, certificate, since: now };
        if missing.is_empty() {
            return self.finish(draft);
        }
        // Then the whole block is no more.
        if missing.len() > MISSING_MAX || missing.len() > draft.transactions.len() / 2 {
            return Step::AskWhole(hash);
        }
        self.drafts.insert(peer, draft);
        Step::Ask { hash, places: missing }
    }

    /// A peer sent transactions of a block, in the order in which they were asked for. None in
    /// [`Step::Wait`]: nobody waits for them.
    pub fn on_transactions(
        &mut self,
        peer: PeerId,
        hash: BlockHash,
        transactions: Vec<Bytes>,
    ) -> Step {
        if self.drafts.get(&peer).is_none_or(|draft| draft.hash != hash) {
            return Step::Wait;
        }
        let Some(mut draft) = self.drafts.remove(&peer) else {
            return Step::Wait;
        };
        let mut arrived = transactions.into_iter();
        for place in draft.transactions.iter_mut().filter(|place| place.is_none()) {
            *place = arrived.next();
        }
        let is_whole = arrived.next().is_none() && draft.transactions.iter().all(Option::is_some);
        if is_whole { self.finish(draft) } else { Step::AskWhole(hash) }
    }

    /// What was put together is not the block.
    pub fn on_misfit(&mut self, hash: &BlockHash) {
        self.assembled.remove(hash.as_bytes());
    }

    fn finish(&mut self, draft: Draft) -> Step {
        let Draft { hash, header, transactions, certificate, .. } = draft;
        self.assembled.insert(hash.as_bytes());
        let transactions = transactions.into_iter().flatten().collect();
        Step::Assemble { hash, header, transactions, certificate }
    }

    /// The senders that took too long, and what they are asked for whole.
    pub fn overdue(&mut self, now: Duration) -> Vec<(PeerId, BlockHash)> {
        let late = |draft: &Draft| now.saturating_sub(draft.since) >= PATIENCE;
        let overdue = self.drafts.iter().filter(|(_, draft)| late(draft));
        let overdue: Vec<_> = overdue.map(|(peer, draft)| (*peer, draft.hash)).collect();
        self.drafts.retain(|_, draft| !late(draft));
        overdue
    }

    /// A peer is gone.
    pub fn disconnect(&mut self, peer: PeerId) {
        self.drafts.remove(&peer);
        self.meters.remove(&peer);
    }
}

/// The transactions of a block as far as they are here; none if two of its short ids are one.
fn find(block: &CompactBlock, mempool: &HashMap<Txid, Bytes>) -> Option<Vec<Option<Bytes>>> {
    let ids = ShortIds::new(&block.header, block.nonce);
    let wanted: HashSet<ShortId> = block.short_ids.iter().copied().collect();
    if wanted.len() < block.short_ids.len() {
        return None;
    }
    let mut found = HashMap::<ShortId, Option<&Bytes>>::new();
    for (txid, bytes) in mempool {
        let id = ids.of(txid);
        if wanted.contains(&id) {
            // Of two that fit neither is taken.
            found.entry(id).and_modify(|it| *it = None).or_insert(Some(bytes));
        }
    }
    let others = block.short_ids.iter().map(|id| found.get(id).copied().flatten().cloned());
    Some(std::iter::once(Some(block.coinbase.clone())).chain(others).collect())
}

fn places(transactions: &[Option<Bytes>]) -> Vec<u32> {
    let missing = (0_u32..).zip(transactions).filter(|(_, bytes)| bytes.is_none());
    missing.map(|(place, _)| place).collect()
}

#[cfg(test)]
mod tests {
    use pentad_primitives::Transaction;
    use pentad_primitives::encode::Encode as _;

    use super::super::tests::{block, transaction};
    use super::super::{assemble, transactions_at};
    use super::*;

    const PEER: PeerId = PeerId(1);
    const NOW: Duration = Duration::from_secs(100);

    fn compact(count: u32) -> (Bytes, CompactBlock) {
        let bytes = Bytes::from(block(count).to_bytes());
        let compact = CompactBlock::of(&bytes, Bytes::from_static(b"certificate"), 7);
        (bytes, compact.expect("compact"))
    }

    fn mempool(numbers: impl Iterator<Item = u32>) -> HashMap<Txid, Bytes> {
        let with_txid = |it: Transaction| (it.txid(), it.to_bytes().into());
        numbers.map(transaction).map(with_txid).collect()
    }

    fn assembled(step: Step) -> Option<Bytes> {
        let Step::Assemble { header, transactions, certificate, .. } = step else {
            panic!("{step:?}");
        };
        assert_eq!(certificate, "certificate");
        assemble(&header, &transactions)
    }

    #[test]
    fn all_from_the_mempool() {
        let (bytes, compact) = compact(300);
        // More than the block has, and not the coinbase.
        let mempool = mempool(1..1000);
        let step = Drafts::new().on_compact(NOW, PEER, compact, &mempool);
        assert_eq!(assembled(step), Some(bytes));
    }

    #[test]
    fn what_is_missing_is_asked_for() {
        let (bytes, compact) = compact(300);
        let hash = compact.hash();
        let mempool = mempool((1..300).filter(|number| number % 50 != 0));
        let mut drafts = Drafts::new();
        let step = drafts.on_compact(NOW, PEER, compact, &mempool);
        let places = vec![50, 100, 150, 200, 250];
        assert_eq!(step, Step::Ask { hash, places: places.clone() });
        let answer = transactions_at(&bytes, &places).expect("there");
        let of_another =
            drafts.on_transactions(PEER, BlockHash::from_bytes([9; 32]), answer.clone());
        assert_eq!(of_another, Step::Wait);
        let step = drafts.on_transactions(PEER, hash, answer.clone());
        assert_eq!(assembled(step), Some(bytes));
        assert_eq!(drafts.on_transactions(PEER, hash, answer), Step::Wait, "it is done");
    }

    #[test]
    fn where_much_is_missing_the_whole_block_is_asked_for() {
        let (_, compact) = compact(300);
        let hash = compact.hash();
        let step = Drafts::new().on_compact(NOW, PEER, compact, &mempool(1..100));
        assert_eq!(step, Step::AskWhole(hash));
    }

    /// Attack 40: wrong, missing or too many transactions lead to the whole block, never to a wrong
    /// one.
    #[test]
    fn answers_that_do_not_fit_lead_to_the_whole_block() {
        let (bytes, compact) = compact(10);
        let hash = compact.hash();
        let here = mempool((1..10).filter(|number| *number != 4));
        for (answer, expected) in [(vec![], true), (vec![4, 5], true), (vec![5], false)] {
            let mut drafts = Drafts::new();
            let step = drafts.on_compact(NOW, PEER, compact.clone(), &here);
            assert_eq!(step, Step::Ask { hash, places: vec![4] });
            let answer = transactions_at(&bytes, &answer).expect("there");
            let step = drafts.on_transactions(PEER, hash, answer);
            if expected {
                assert_eq!(step, Step::AskWhole(hash));
            } else {
                assert_eq!(assembled(step), None, "the merkle root tells");
            }
        }
    }

    #[test]
    fn short_ids_that_are_one_lead_to_the_whole_block() {
        let (_, mut compact) = compact(10);
        compact.short_ids[3] = compact.short_ids[4];
        let hash = compact.hash();
        let step = Drafts::new().on_compact(NOW, PEER, compact, &mempool(1..10));
        assert_eq!(step, Step::AskWhole(hash));
    }

    #[test]
    fn who_does_not_answer_is_asked_for_the_whole_block() {
        let (_, compact) = compact(10);
        let hash = compact.hash();
        let mut drafts = Drafts::new();
        drafts.on_compact(NOW, PEER, compact, &mempool(2..10));
        assert!(drafts.overdue(NOW).is_empty());
        assert_eq!(drafts.overdue(NOW + PATIENCE), [(PEER, hash)]);
        assert!(drafts.overdue(NOW + PATIENCE).is_empty());
    }

    /// Attack 39: one that holds the rest back, and one that is honest; what is here is not done
    /// twice.
    #[test]
    fn a_block_is_put_together_from_a_second_peer() {
        let (bytes, compact) = compact(10);
        let (hash, here) = (compact.hash(), mempool(2..10));
        let mut drafts = Drafts::new();
        for peer in [1, 2] {
            let step = drafts.on_compact(NOW, PeerId(peer), compact.clone(), &here);
            assert_eq!(step, Step::Ask { hash, places: vec![1] });
        }
        assert_eq!(drafts.on_compact(NOW, PeerId(3), compact.clone(), &here), Step::Wait);
        let answer = transactions_at(&bytes, &[1]).expect("there");
        let step = drafts.on_transactions(PeerId(2), hash, answer.clone());
        assert_eq!(assembled(step), Some(bytes));
        drafts.disconnect(PEER);
        assert_eq!(drafts.on_compact(NOW, PeerId(3), compact.clone(), &here), Step::Wait);
        drafts.on_misfit(&hash);
        assert_ne!(drafts.on_compact(NOW, PeerId(3), compact, &here), Step::Wait);
    }

    /// Headers without work cost nothing to make.
    #[test]
    fn a_flood_of_compact_blocks_is_bounded() {
        let here = mempool(2..10);
        let mut drafts = Drafts::new();
        let invented = |number: u32| {
            let mut block = block(10);
            block.header.nonce = number;
            CompactBlock::of(&block.to_bytes(), Bytes::new(), 7).expect("compact")
        };
        let mut looked_at = 0;
        for number in 0..1_000 {
            let step = drafts.on_compact(NOW, PEER, invented(number), &here);
            looked_at += usize::from(!matches!(step, Step::AskWhole(_)));
            drafts.drafts.clear();
        }
        assert_eq!(looked_at, 40);
        for number in 1_000..2_000 {
            let peer = PeerId(u64::from(number % 100) + 2);
            let step = drafts.on_compact(NOW, peer, invented(number), &here);
            looked_at += usize::from(!matches!(step, Step::AskWhole(_)));
            assert!(drafts.drafts.len() <= DRAFTS_MAX);
        }
        assert!(looked_at <= 100, "{looked_at}");
        (0..200).for_each(|peer| drafts.disconnect(PeerId(peer)));
        assert!(drafts.drafts.is_empty() && drafts.meters.is_empty());
    }
}
