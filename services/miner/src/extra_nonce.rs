use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers for coinbases, so that no two templates are searched twice. The first one is random:
/// two miners that pay one address search different blocks, too.
#[derive(Debug)]
pub(crate) struct ExtraNonce(AtomicU64);

impl ExtraNonce {
    pub(crate) fn random() -> Result<Self, getrandom::Error> {
        getrandom::u64().map(|first| Self(AtomicU64::new(first)))
    }

    pub(crate) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}
