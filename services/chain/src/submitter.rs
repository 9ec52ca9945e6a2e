//! The way to the writer: decode and check what needs no chain, wait for room, hand over.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use pentad_ledger::proposal::Proposal;
use pentad_ledger::spec::Limits;
use pentad_ledger::verify::{CheckedBlock, CheckedTransaction, Fault};
use pentad_ledger::{BlockTemplate, ChainSpec};
use pentad_primitives::encode::Decode as _;
use pentad_primitives::{Block, BlockHash, BlockHeader, Script, Transaction, Txid};
use pentad_service_kit::telemetry::{BlockTrace, RecordedSpan, TraceContext};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::spawn_blocking;

use crate::ahead::{self, Ready};
use crate::cores::cores;
use crate::error::{ChainError, FinalityError};
use crate::refusal::Refusal;
use crate::view::Published;
use crate::writer::{
    Admission, BlockOutcome, COMMAND_BYTES_MIN, Command, FinalityOutcome, HeadersChecked, Job,
    Origin, QUEUE_BYTES_MAX,
};

/// Hands blocks, transactions and headers to the writer. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Submitter {
    spec: ChainSpec,
    published: Arc<Published>,
    jobs: mpsc::Sender<Job>,
    room: Arc<Semaphore>,
    cores: Arc<Semaphore>,
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

/// A batch of transactions on its way.
#[derive(Debug)]
pub struct BatchTicket {
    /// The id of each that could be decoded, and why the writer was not asked about it.
    items: Vec<(Option<Txid>, Option<Refusal>)>,
    answer: oneshot::Receiver<Vec<Result<Admission, Refusal>>>,
}

impl BatchTicket {
    /// The id of each transaction, if it could be decoded, and what became of it, in order.
    ///
    /// # Errors
    /// When the writer has ended.
    pub async fn answer(
        self,
    ) -> Result<Vec<(Option<Txid>, Result<Admission, Refusal>)>, ChainError> {
        let mut answers = self.answer.await.map_err(|_| ChainError::Stopped)?.into_iter();
        let outcomes = self.items.into_iter().map(|(txid, refusal)| {
            let outcome = refusal.map(Err).or_else(|| answers.next());
            Ok((txid, outcome.ok_or(ChainError::Broken)?))
        });
        outcomes.collect()
    }
}

impl Submitter {
    pub(crate) fn new(spec: ChainSpec, published: Arc<Published>, jobs: mpsc::Sender<Job>) -> Self {
        let room = Arc::new(Semaphore::new(QUEUE_BYTES_MAX as usize));
        Self { spec, published, jobs, room, cores: Arc::new(Semaphore::new(cores())) }
    }

    /// Hands in a block in Bitcoin's serialization with its commit certificate, empty under proof
    /// of work. Blocks of one caller keep their order if each
    /// call is awaited before the next; the tickets can be awaited later.
    ///
    /// # Errors
    /// When the writer has ended.
    pub async fn block(
        &self,
        bytes: Bytes,
        certificate: Bytes,
        origin: Origin,
    ) -> Result<Ticket<BlockHash, BlockOutcome>, ChainError> {
        let trace = BlockTrace::new(TraceContext::current(), []);
        self.traced_block(bytes, certificate, origin, trace).await
    }

    /// As [`Self::block`], for a block whose traces are known.
    pub(crate) async fn traced_block(
        &self,
        bytes: Bytes,
        certificate: Bytes,
        origin: Origin,
        trace: BlockTrace,
    ) -> Result<Ticket<BlockHash, BlockOutcome>, ChainError> {
        let room = self.room(bytes.len().saturating_add(certificate.len())).await;
        let (spec, published) = (self.spec.clone(), Arc::clone(&self.published));
        // Blocks wait for no transactions.
        let checked = spawn_blocking(move || {
            // The certificate comes first: without it nothing is said about the block.
            let (block, hash) = decode_block(&bytes)?;
            let certificate = published.finality.check(&certificate, &hash);
            let certificate = certificate.map_err(|refusal| (Some(hash), refusal))?;
            Ok((check_block(block, &spec)?, certificate))
        });
        let (block, certificate) = match checked.await.map_err(|_| ChainError::Broken)? {
            Ok(checked) => checked,
            Err((id, refusal)) => {
                if let (Some(hash), Fault::Invalid) = (id, refusal.fault) {
                    self.send(Command::InvalidBody(hash), room)?;
                }
                return Ok(Ticket { id, answer: Answer::Refused(refusal) });
            }
        };
        let (reply, answer) = oneshot::channel();
        let id = Some(block.hash());
        self.send(Command::Block { block, certificate, origin, trace, reply }, room)?;
        Ok(Ticket { id, answer: Answer::Waiting(answer) })
    }

    /// Checks a block that is to be agreed on, and says what its hash is.
    ///
    /// # Errors
    /// When nothing is agreed on in this network, the block is not on the tip, or the writer has
    /// ended; a rule that the block breaks is an inner error.
    pub async fn proposal(
        &self,
        bytes: Bytes,
        proposal: Proposal,
    ) -> Result<(Option<BlockHash>, Result<(), Refusal>), ChainError> {
        if !self.published.finality.is_instant() {
            return Err(FinalityError::NoFinality.into());
        }
        let room = self.room(bytes.len()).await;
        let spec = self.spec.clone();
        let checked = spawn_blocking(move || {
            let (block, _) = decode_block(&bytes)?;
            check_block(block, &spec)
        });
        let block = match checked.await.map_err(|_| ChainError::Broken)? {
            Ok(block) => block,
            Err((hash, refusal)) => return Ok((hash, Err(refusal))),
        };
        let hash = Some(block.hash());
        let (reply, answer) = oneshot::channel();
        self.send(Command::Proposal { block, proposal, reply }, room)?;
        let verdict = answer.await.map_err(|_| ChainError::Stopped)?;
        Ok((hash, verdict.map_err(ChainError::NotOnTip)?))
    }

    /// Hands in a transaction in Bitcoin's serialization, within the current trace.
    ///
    /// # Errors
    /// When the writer has ended.
    pub async fn transaction(&self, bytes: &[u8]) -> Result<Ticket<Txid, Admission>, ChainError> {
        let span = TraceContext::current().map(begin_admission);
        let room = self.room(bytes.len()).await;
        let transaction = match check_transaction(bytes, &self.spec.limits()) {
            Ok(transaction) => transaction,
            Err((id, refusal)) => {
                self.published.flow.on_refused(&refusal);
                return Ok(Ticket { id, answer: Answer::Refused(refusal) });
            }
        };
        let published = Arc::clone(&self.published);
        let ready = self.on_core(move || ahead::check(&published, vec![transaction])).await?;
        let ready = ready.into_iter().next().ok_or(ChainError::Broken)?;
        self.hand_over(Ready { span, ..ready }, room)
    }

    /// Hands in a transaction that was checked ahead.
    #[cfg(test)]
    pub(crate) async fn ready(&self, ready: Ready) -> Result<Ticket<Txid, Admission>, ChainError> {
        self.hand_over(ready, self.room(0).await)
    }

    fn hand_over(
        &self,
        ready: Ready,
        room: OwnedSemaphorePermit,
    ) -> Result<Ticket<Txid, Admission>, ChainError> {
        let id = Some(ready.transaction.txid());
        let (reply, answer) = oneshot::channel();
        self.send(Command::Transaction { ready, reply }, room)?;
        Ok(Ticket { id, answer: Answer::Waiting(answer) })
    }

    /// Hands in transactions in Bitcoin's serialization, which are admitted in order; some are
    /// `traced`, by their place. Batches of one caller keep their order if each call is awaited
    /// before the next.
    ///
    /// # Errors
    /// When the writer has ended.
    pub async fn transactions(
        &self,
        batch: Vec<Bytes>,
        traced: BTreeMap<usize, TraceContext>,
    ) -> Result<BatchTicket, ChainError> {
        let mut spans: BTreeMap<usize, RecordedSpan> =
            traced.into_iter().map(|(place, context)| (place, begin_admission(context))).collect();
        let bytes = batch.iter().map(Bytes::len).fold(0, usize::saturating_add);
        let room = self.room(bytes).await;
        let (limits, published) = (self.spec.limits(), Arc::clone(&self.published));
        let checked = self.on_core(move || {
            let mut transactions = Vec::with_capacity(batch.len());
            let mut places = Vec::with_capacity(batch.len());
            let items = batch.iter().enumerate();
            let items = items.map(|(place, bytes)| match check_transaction(bytes, &limits) {
                Ok(transaction) => {
                    let txid = transaction.txid();
                    transactions.push(transaction);
                    places.push(place);
                    (Some(txid), None)
                }
                Err((txid, refusal)) => {
                    published.flow.on_refused(&refusal);
                    (txid, Some(refusal))
                }
            });
            let items = items.collect();
            let mut ready = ahead::check(&published, transactions);
            for (ready, place) in ready.iter_mut().zip(&places) {
                ready.span = spans.remove(place);
            }
            (items, ready)
        });
        let (items, ready) = checked.await?;
        let (reply, answer) = oneshot::channel();
        self.send(Command::Transactions { ready, reply }, room)?;
        Ok(BatchTicket { items, answer })
    }

    /// Does work that takes a core for a while; as many at once as there are cores.
    async fn on_core<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ChainError> {
        let core = Arc::clone(&self.cores).acquire_owned().await;
        let core = core.expect("the semaphore is never closed");
        let working = spawn_blocking(move || {
            let done = work();
            drop(core);
            done
        });
        working.await.map_err(|_| ChainError::Broken)
    }

    /// Checks consecutive headers and keeps them. Under PBFT the certificate of the last one
    /// proves them; without it none is kept.
    ///
    /// # Errors
    /// When the writer has ended.
    pub async fn headers(
        &self,
        headers: Vec<BlockHeader>,
        certificate: Bytes,
    ) -> Result<HeadersChecked, ChainError> {
        let published = Arc::clone(&self.published);
        let checked = spawn_blocking(move || {
            let checked = published.finality.check_headers(&headers, &certificate);
            checked.map(|certificate| (headers, certificate))
        });
        let (headers, certificate, refusal) = match checked.await.map_err(|_| ChainError::Broken)? {
            Ok((headers, certificate)) => (headers, certificate, None),
            Err(refusal) => (Vec::new(), None, Some(refusal)),
        };
        let checked = self.ask(|reply| Command::Headers { headers, certificate, reply }).await?;
        Ok(HeadersChecked { refusal: refusal.or(checked.refusal), ..checked })
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

    /// Makes a block final by its certificate: no chain without it is accepted from then on.
    ///
    /// # Errors
    /// When the writer has ended or the engine is another than hybrid; a certificate that cannot
    /// make a block final is an inner error.
    pub async fn finalise(
        &self,
        certificate: Bytes,
    ) -> Result<Result<FinalityOutcome, Refusal>, ChainError> {
        let published = Arc::clone(&self.published);
        published.finality.depth_of_work().ok_or(FinalityError::NotHybrid)?;
        let read = spawn_blocking(move || published.finality.read(&certificate));
        match read.await.map_err(|_| ChainError::Broken)? {
            Ok(certificate) => self.ask(|reply| Command::Finalise { certificate, reply }).await,
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    /// Ends the writer; the next start rebuilds the index.
    pub(crate) async fn reindex(&self) -> Result<(), ChainError> {
        self.ask(|reply| Command::Reindex { reply }).await
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
        let waiting = self.published.flow.wait(command.kind());
        let job = Job { command, room, waiting, span };
        self.jobs.send(job).map_err(|_| ChainError::Stopped)
    }

    async fn room(&self, length: usize) -> OwnedSemaphorePermit {
        // What is larger than the whole queue is refused by its size once decoded.
        let length =
            u32::try_from(length).unwrap_or(u32::MAX).clamp(COMMAND_BYTES_MIN, QUEUE_BYTES_MAX);
        let room = Arc::clone(&self.room);
        match Arc::clone(&room).try_acquire_many_owned(length) {
            Ok(taken) => taken,
            Err(_) => {
                self.published.flow.queue_full.inc();
                let taken = room.acquire_many_owned(length).await;
                taken.expect("the semaphore is never closed")
            }
        }
    }
}

/// The span of a transaction's way into the mempool.
fn begin_admission(parent: TraceContext) -> RecordedSpan {
    parent.begin(module_path!(), "chain.admit")
}

fn decode_block(bytes: &[u8]) -> Result<(Block, BlockHash), (Option<BlockHash>, Refusal)> {
    let block = Block::from_bytes(bytes)
        .map_err(|error| (None, Refusal::new("MALFORMED", Fault::Invalid, error)))?;
    let hash = block.block_hash();
    Ok((block, hash))
}

fn check_block(
    block: Block,
    spec: &ChainSpec,
) -> Result<CheckedBlock, (Option<BlockHash>, Refusal)> {
    let hash = block.block_hash();
    CheckedBlock::check(block, spec).map_err(|error| (Some(hash), Refusal::from(&error)))
}

/// A transaction of legal form; else its id, if it could be decoded, and the rule broken.
pub(crate) fn check_transaction(
    bytes: &[u8],
    limits: &Limits,
) -> Result<CheckedTransaction, (Option<Txid>, Refusal)> {
    let transaction = Transaction::from_bytes(bytes)
        .map_err(|error| (None, Refusal::new("MALFORMED", Fault::Invalid, error)))?;
    let txid = transaction.txid();
    CheckedTransaction::check(transaction, limits)
        .map_err(|error| (Some(txid), Refusal::from(&error)))
}
