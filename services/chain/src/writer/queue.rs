//! What the writer does next: blocks before transactions.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::{Command, Job};
use crate::flow::Kind;

/// Jobs about blocks before a waiting transaction has its turn, so that a long sync starves nobody.
const BLOCKS_IN_A_ROW_MAX: u32 = 32;

/// The jobs that wait, in order of arrival but for transactions, which let the others pass.
#[derive(Debug)]
pub(super) struct Queue<'a> {
    jobs: &'a Receiver<Job>,
    blocks: VecDeque<Job>,
    transactions: VecDeque<Job>,
    blocks_in_a_row: u32,
}

/// Nobody is left to give the writer work.
#[derive(Debug)]
pub(super) struct Abandoned;

impl<'a> Queue<'a> {
    pub(super) fn new(jobs: &'a Receiver<Job>) -> Self {
        let (blocks, transactions) = (VecDeque::new(), VecDeque::new());
        Self { jobs, blocks, transactions, blocks_in_a_row: 0 }
    }

    /// The next job, if one waits.
    pub(super) fn next(&mut self) -> Option<Job> {
        while let Ok(job) = self.jobs.try_recv() {
            self.take_in(job);
        }
        let is_last = self.transactions.front().is_some_and(|job| ends_the_work(&job.command));
        let have_turn = self.blocks_in_a_row >= BLOCKS_IN_A_ROW_MAX
            && !self.transactions.is_empty()
            && !is_last;
        if !self.blocks.is_empty() && !have_turn {
            self.blocks_in_a_row += 1;
            return self.blocks.pop_front();
        }
        self.blocks_in_a_row = 0;
        self.transactions.pop_front()
    }

    /// Waits for a job where none waits.
    pub(super) fn wait(&mut self, timeout: Duration) -> Result<Option<Job>, Abandoned> {
        match self.jobs.recv_timeout(timeout) {
            Ok(job) => {
                self.take_in(job);
                Ok(self.next())
            }
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Abandoned),
        }
    }

    fn take_in(&mut self, job: Job) {
        match job.command.kind() {
            Kind::Transactions => self.transactions.push_back(job),
            Kind::Blocks => self.blocks.push_back(job),
        }
    }
}

const fn ends_the_work(command: &Command) -> bool {
    matches!(command, Command::Stop { .. } | Command::Reindex { .. })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use pentad_primitives::BlockHash;
    use tokio::sync::{Semaphore, oneshot};

    use super::*;
    use crate::flow::Flow;

    fn job(command: Command) -> Job {
        let room = Arc::new(Semaphore::new(1)).try_acquire_owned().expect("free");
        let waiting = Flow::default().wait(command.kind());
        Job { command, room, waiting, span: tracing::Span::none() }
    }

    fn transactions() -> Job {
        job(Command::Transactions { ready: Vec::new(), reply: oneshot::channel().0 })
    }

    fn about_block() -> Job {
        job(Command::InvalidBody(BlockHash::ZERO))
    }

    fn stop() -> Job {
        job(Command::Stop { reply: oneshot::channel().0 })
    }

    fn order(jobs: impl IntoIterator<Item = Job>) -> String {
        let (sender, receiver) = mpsc::channel();
        jobs.into_iter().for_each(|job| sender.send(job).expect("open"));
        let mut queue = Queue::new(&receiver);
        let mut order = String::new();
        while let Some(job) = queue.next() {
            order.push(match job.command {
                Command::InvalidBody(_) => 'b',
                Command::Stop { .. } => 's',
                _ => 't',
            });
        }
        order
    }

    #[test]
    fn blocks_come_first_and_starve_nobody() {
        let mixed = [transactions(), about_block(), transactions(), about_block(), stop()];
        assert_eq!(order(mixed), "bbtts");
        let flood = (0..80).map(|_| about_block()).chain([transactions(), transactions()]);
        let row = "b".repeat(BLOCKS_IN_A_ROW_MAX as usize);
        assert_eq!(order(flood), format!("{row}t{row}t{}", "b".repeat(80 - 2 * row.len())));
        // A stop waits for all that was there before it.
        let flood = (0..80).map(|_| about_block()).chain([stop()]);
        assert_eq!(order(flood), format!("{}s", "b".repeat(80)));
    }
}
