use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use proptest::prelude::*;

use crate::engine::{Batch, CoinCache, CoinReads, EngineError, IndexEngine, MemoryEngine, Pair};

/// Counts the reads that reach it.
#[derive(Debug, Default)]
struct Counting {
    inner: MemoryEngine,
    reads: AtomicUsize,
}

impl IndexEngine for Counting {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.inner.get(key)
    }

    fn page(&self, p: &[u8], a: Option<&[u8]>, limit: usize) -> Result<Vec<Pair>, EngineError> {
        self.inner.page(p, a, limit)
    }

    fn write(&self, batch: Batch) -> Result<(), EngineError> {
        self.inner.write(batch)
    }

    fn fill(&self, changes: Batch) -> Result<(), EngineError> {
        self.inner.fill(changes)
    }

    fn keep_order(&self) -> Result<(), EngineError> {
        Ok(())
    }

    fn flush(&self) -> Result<(), EngineError> {
        Ok(())
    }
}

fn key(number: u32) -> Vec<u8> {
    [&b"u"[..], &[7; 32], &number.to_be_bytes()].concat()
}

fn coin(number: u32) -> (Vec<u8>, Option<Vec<u8>>) {
    (key(number), Some(number.to_le_bytes().repeat(10)))
}

fn cached(bytes_max: usize) -> (Arc<Counting>, CoinCache) {
    let engine = Arc::new(Counting::default());
    (engine.clone(), CoinCache::new(engine, bytes_max))
}

#[test]
fn hot_coins_are_answered_without_the_engine() {
    let (engine, cache) = cached(1 << 20);
    cache.write((0..100).map(coin).collect()).expect("works");
    for number in 0..100 {
        assert_eq!(cache.get(&key(number)).expect("works"), coin(number).1);
    }
    assert_eq!(engine.reads.load(Ordering::SeqCst), 0);
    // What was only in the engine is read from there once.
    engine.write(vec![coin(200)]).expect("works");
    for _ in 0..3 {
        assert_eq!(cache.get(&key(200)).expect("works"), coin(200).1);
    }
    assert_eq!(engine.reads.load(Ordering::SeqCst), 1);
    assert_eq!(cache.usage().reads(), CoinReads { hits: 102, misses: 1 });
    // Rows of other tables and coins that do not exist are none of its business.
    engine.write(vec![(b"t".to_vec(), Some(vec![1]))]).expect("works");
    assert_eq!(cache.get(b"t").expect("works"), Some(vec![1]));
    assert_eq!(cache.get(&key(201)).expect("works"), None);
}

#[test]
fn memory_stays_within_the_budget() {
    const BUDGET: usize = 64 * 1024;
    let (_, cache) = cached(BUDGET);
    let usage = cache.usage();
    let mut most = 0;
    for number in 0..20_000 {
        cache.write(vec![coin(number)]).expect("works");
        assert!(usage.bytes() <= BUDGET, "{} bytes after {number} coins", usage.bytes());
        most = most.max(usage.bytes());
    }
    assert!(most > BUDGET / 2, "a budget that is not used: {most} bytes");
    // Reads fill it as well, and keep to the budget; all is still there.
    for number in 0..20_000 {
        assert_eq!(cache.get(&key(number)).expect("works"), coin(number).1);
        assert!(usage.bytes() <= BUDGET);
    }
    let gone = (0..20_000).map(|number| (key(number), None)).collect();
    cache.write(gone).expect("works");
    assert_eq!(usage.bytes(), 0);
    // A coin larger than the budget is not kept.
    cache.write(vec![(key(0), Some(vec![0; BUDGET]))]).expect("works");
    assert_eq!(usage.bytes(), 0);
    assert_eq!(cache.get(&key(0)).expect("works"), Some(vec![0; BUDGET]));
}

#[test]
fn reads_beside_writes_leave_no_stale_coin() {
    let (engine, cache) = cached(1 << 20);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    for number in 0..8 {
                        cache.get(&key(number)).expect("works");
                    }
                }
            });
        }
        for round in 0..20_000_u32 {
            let value = (round % 3 != 0).then(|| round.to_le_bytes().to_vec());
            cache.write(vec![(key(round % 8), value)]).expect("works");
        }
        done.store(true, Ordering::SeqCst);
    });
    for number in 0..8 {
        let truth = engine.inner.get(&key(number)).expect("works");
        assert_eq!(cache.get(&key(number)).expect("works"), truth, "coin {number}");
    }
}

proptest! {
    #[test]
    fn cache_is_not_to_be_told_from_its_engine(
        ops in prop::collection::vec((any::<bool>(), 0..40_u32, prop::option::of(0..9_u8)), 0..200),
        coins_max in 1..8_usize,
    ) {
        // So small that coins come and go: each of the sixteen parts holds a few.
        let cache = CoinCache::new(Arc::new(MemoryEngine::default()), coins_max * 16 * 160);
        let plain = MemoryEngine::default();
        for (is_write, number, value) in ops {
            if is_write {
                let batch = vec![(key(number), value.map(|value| vec![value; 40]))];
                cache.write(batch.clone()).expect("works");
                plain.write(batch).expect("works");
            }
            for near in number..number + 3 {
                let found = cache.get(&key(near)).expect("works");
                prop_assert_eq!(found, plain.get(&key(near)).expect("works"));
            }
        }
        prop_assert_eq!(
            cache.page(b"u", None, 99).expect("works"),
            plain.page(b"u", None, 99).expect("works")
        );
    }
}
