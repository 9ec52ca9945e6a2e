//! The way to the writer: decode and check what needs no chain, wait for room, hand over.

use std::sync::{Arc, mpsc};

use pentad_ledger::verify::{CheckedBlock, CheckedTransaction, Fault};
use pentad_ledger::{BlockTemplate, ChainSpec};
use pentad_primitives::encode::Decode as _;
use pentad_primitives::{Block, BlockHash, BlockHeader, Script, Transaction, Txid};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::spawn_blocking;

use crate::error::ChainError;
use crate::refusal::Refusal;
use crate::writer::{
    Admission, BlockOutcome, COMMAND_BYTES_MIN, Command, HeadersChecked, Job, Origin,
    QUEUE_BYTES_MAX,
};

/// Hands blocks, transactions and headers to the writer. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Submitter {
    spec: ChainSpec,
    jobs: mpsc::Sender<Job>,
    room: Arc<Semaphore>,
}

/// An item on its way: its id, and the answer to come.
#[derive(Debug)]
pub struct Ticket<Id, T> {
    /// The item's id; `None` when it could not be decoded.
    pub id: Option<Id>,
    answer: Answer<T>,
}

#[derive(Debug)]
enum Answer<T> {
    Refused(Refusal),
    Waiting(oneshot::Receiver<Result<T, Refusal>>),
}

impl<Id, T> Ticket<Id, T> {
    /// What became of the item.
    ///
    /// # Errors
    /// When the writer has ended.
    pub async fn answer(self) -> Result<Result<T, Refusal>, ChainError> {
        match self.answer {
            Answer::Refused(refusal) => Ok(Err(refusal)),
            Answer::Waiting(answer) => answer.await.map_err(|_| ChainError::Stopped),
        }
    }
}

impl Submitter {
    pub(crate) fn new(spec: ChainSpec, jobs: mpsc::Sender<Job>) -> Self {
        Self { spec, jobs, room: Arc::new(Semaphore::new(QUEUE_BYTES_MAX as usize)) }
    }

    /// Hands in a block in Bitcoin's serialization. Blocks of one caller keep their order if each
    /// call is awaited before the next; the tickets can be awaited later.
    ///
    /// # Errors
    /// When the writer has ended.
    pub async fn block(
        &self,
        bytes: bytes::Bytes,
        origin: Origin,
    ) -> Result<Ticket<BlockHash, BlockOutcome>, ChainError> {
        let room = self.room(bytes.len()).await;
        let spec = self.spec.clone();
        let checked = spawn_blocking(move || check_block(&bytes, &spec)).await;
        let block = match checked.map_err(|_| ChainError::Broken)? {
            Ok(block) => block,
            Err((id, refusal)) => {
                if let (Some(hash), Fault::Invalid) = (id, refusal.fault) {
                    self.send(Command::InvalidBody(hash), room)?;
                }
                return Ok(Ticket { id, answer: Answer::Refused(refusal) });
            }
        };
        let (reply, answer) = oneshot::channel();
        let id = Some(block.hash());
        self.send(Command::Block { block, origin, reply }, room)?;
        Ok(Ticket { id, answer: Answer::Waiting(answer) })
    }

    /// Hands in a transaction in Bitcoin's serialization.
    ///
    /// # Errors
    /// When the writer has ended.
    pub async fn transaction(&self, bytes: &[u8]) -> Result<Ticket<Txid, Admission>, ChainError> {
        let room = self.room(bytes.len()).await;
        let transaction = match Transaction::from_bytes(bytes) {
            Ok(transaction) => transaction,
            Err(error) => {
                let refusal = Refusal::new("MALFORMED", Fault::Invalid, error);
                return Ok(Ticket { id: None, answer: Answer::Refused(refusal) });
            }
        };
        let id = Some(transaction.txid());
        let transaction = match CheckedTransaction::check(transaction, &self.spec.limits()) {
            Ok(transaction) => transaction,
            Err(error) => {
                let answer = Answer::Refused(Refusal::from(&error));
                return Ok(Ticket { id, answer });
            }
        };
        let (reply, answer) = oneshot::channel();
        self.send(Command::Transaction { transaction, reply }, room)?;
        Ok(Ticket { id, answer: Answer::Waiting(answer) })
    }

    /// Checks consecutive headers and keeps them.
    ///
    /// # Errors
    /// When the writer has ended.
    pub async fn headers(&self, headers: Vec<BlockHeader>) -> Result<HeadersChecked, ChainError> {
        self.ask(|reply| Command::Headers { headers, reply }).await
    }

    /// Builds a block on the tip that pays to `payout`.
    ///
    /// # Errors
    /// When the script is unusable or the writer has ended.
    pub async fn template(
        &self,
        payout: Script,
        extra_nonce: u64,
    ) -> Result<BlockTemplate, ChainError> {
        let built = self.ask(|reply| Command::Template { payout, extra_nonce, reply }).await?;
        built.map_err(ChainError::Template)
    }

    /// Has the writer put everything on disk and end.
    ///
    /// # Errors
    /// When it has ended before.
    pub(crate) async fn stop(&self) -> Result<(), ChainError> {
        self.ask(|reply| Command::Stop { reply }).await
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, ChainError> {
        let (reply, answer) = oneshot::channel();
        self.send(command(reply), self.room(0).await)?;
        answer.await.map_err(|_| ChainError::Stopped)
    }

    fn send(&self, command: Command, room: OwnedSemaphorePermit) -> Result<(), ChainError> {
        let span = tracing::Span::current();
        let job = Job { command, room, span };
        self.jobs.send(job).map_err(|_| ChainError::Stopped)
    }

    async fn room(&self, length: usize) -> OwnedSemaphorePermit {
        // What is larger than the whole queue is refused by its size once decoded.
        let length =
            u32::try_from(length).unwrap_or(u32::MAX).clamp(COMMAND_BYTES_MIN, QUEUE_BYTES_MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(length).await;
        room.expect("the semaphore is never closed")
    }
}

fn check_block(
    bytes: &[u8],
    spec: &ChainSpec,
) -> Result<CheckedBlock, (Option<BlockHash>, Refusal)> {
    let block = Block::from_bytes(bytes)
        .map_err(|error| (None, Refusal::new("MALFORMED", Fault::Invalid, error)))?;
    let hash = block.block_hash();
    CheckedBlock::check(block, spec).map_err(|error| (Some(hash), Refusal::from(&error)))
}
