//! A disk that keeps what was synced, and of the rest whatever it likes.

use crate::rng::Rng;

/// An append-only log of records, its end not yet durable.
#[derive(Clone, Debug)]
pub struct Disk<R> {
    records: Vec<R>,
    durable: usize,
}

impl<R> Default for Disk<R> {
    fn default() -> Self {
        Self { records: Vec::new(), durable: 0 }
    }
}

impl<R: Clone> Disk<R> {
    pub fn append(&mut self, record: R) {
        self.records.push(record);
    }

    /// Replaces the log by another, atomically and durably (a new file, synced, renamed).
    pub fn replace(&mut self, records: Vec<R>) {
        self.durable = records.len();
        self.records = records;
    }

    #[must_use]
    pub const fn is_synced(&self) -> bool {
        self.durable == self.records.len()
    }

    pub const fn sync(&mut self) {
        self.durable = self.records.len();
    }

    /// Power loss: of the records not synced, a prefix of random length survives. The record after
    /// it may be torn; a torn record is cut when the log is opened, so it counts as lost.
    pub fn crash(&mut self, rng: &mut Rng) {
        let kept = self.durable + rng.index(self.records.len() - self.durable + 1);
        self.records.truncate(kept);
        self.durable = kept;
    }

    /// The worst power loss: nothing that was not synced survives.
    pub fn crash_losing_all_unsynced(&mut self) {
        self.records.truncate(self.durable);
    }

    #[must_use]
    pub fn records(&self) -> &[R] {
        &self.records
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_keeps_what_was_synced_and_a_prefix_of_the_rest() {
        let mut kept = [false; 3];
        for seed in 0..50 {
            let mut disk = Disk::default();
            disk.append(1);
            disk.sync();
            disk.append(2);
            disk.append(3);
            assert!(!disk.is_synced());
            disk.crash(&mut Rng::new(seed));
            assert!(disk.is_synced());
            assert_eq!(disk.records(), &[1, 2, 3][..disk.records().len()]);
            kept[disk.records().len() - 1] = true;
        }
        assert_eq!(kept, [true; 3], "every prefix is met");
    }
}
