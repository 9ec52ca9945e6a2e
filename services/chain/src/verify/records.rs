//! The block log, record by record.

use pentad_primitives::BlockHash;
use pentad_store::log::{LogError, LogPosition, Record};
use pentad_store::{Contents, StoredBlock, block_key};

use super::{Event, Phase, Place, Stop, Verification, damage_of};

impl<F: FnMut(Event) -> bool> Verification<'_, F> {
    /// Reads every record that the index has seen: its checksum, what it holds, and whether the
    /// index has it.
    pub(super) fn check_records(&mut self) -> Result<(), Stop> {
        let end = self.tip.snapshot.state.log_end;
        let log = self.reader.published().log.clone();
        let total = log.bytes_before(end)?;
        let mut done = 0;
        let mut at = LogPosition::START;
        self.progress(Phase::Records, done, total)?;
        while at < end {
            let next = match log.next(at) {
                Ok(Some((record, next))) => {
                    self.report.records += 1;
                    self.check_record(at, &record)?;
                    Some(next)
                }
                Ok(None) => None,
                Err(error) => {
                    // Without its header, none of a segment's records can be read.
                    let is_record = matches!(error, LogError::Damaged { offset: 1.., .. });
                    self.damage(Place::Record(at), damage_of(error)?)?;
                    if is_record { log.next_sound(at)? } else { None }
                }
            };
            match next {
                Some(next) => {
                    done += u64::from(next.offset - at.offset);
                    at = next;
                }
                None => at = LogPosition { segment: at.segment + 1, ..LogPosition::START },
            }
            self.progress(Phase::Records, done.min(total), total)?;
        }
        self.progress(Phase::Records, total, total)
    }

    fn check_record(&mut self, at: LogPosition, record: &Record) -> Result<(), Stop> {
        match pentad_store::contents(record) {
            Ok(Contents::Block(stored)) => self.check_block_row(at, &stored),
            Ok(Contents::Undo(hash, _)) => self.check_undo_row(at, &hash),
            Ok(Contents::Certificate(hash, _)) => self.check_certificate_row(at, &hash),
            Err(problem) => {
                self.damage(Place::Record(at), format!("the record does not decode: {problem}"))
            }
        }
    }

    fn check_block_row(&mut self, at: LogPosition, stored: &StoredBlock) -> Result<(), Stop> {
        let hash = stored.block.block_hash();
        let row = Place::Row(block_key(&hash));
        let Some(entry) = self.entry(&hash)? else {
            return self
                .damage(row, format!("the row of the block at {at} is missing or malformed"));
        };
        let is_same = entry.header == stored.block.header
            && entry.height == stored.height
            && entry.chain_work == stored.chain_work;
        // Before format 5 a block came again with its certificate, and is found at the later place.
        let came_again = entry.body > at && entry.certificate_len > stored.certificate_len;
        let is_there = entry.body == at && entry.certificate_len == stored.certificate_len;
        if is_same && (is_there || came_again) {
            return Ok(());
        }
        self.damage(row, format!("the row does not say what the block's record at {at} does"))
    }

    fn check_undo_row(&mut self, at: LogPosition, hash: &BlockHash) -> Result<(), Stop> {
        let known = self.entry(hash)?.and_then(|entry| entry.undo);
        // Undo data that was found wrong has been written anew.
        if known >= Some(at) {
            return Ok(());
        }
        let problem = format!("the row does not know of the undo data at {at}");
        self.damage(Place::Row(block_key(hash)), problem)
    }

    fn check_certificate_row(&mut self, at: LogPosition, hash: &BlockHash) -> Result<(), Stop> {
        let problem = match self.entry(hash)? {
            Some(entry) if entry.certificate == Some(at) => return Ok(()),
            Some(_) => format!("the row does not know of the certificate at {at}"),
            None => {
                format!("the row of the block whose certificate is at {at} is missing or malformed")
            }
        };
        self.damage(Place::Row(block_key(hash)), problem)
    }
}
