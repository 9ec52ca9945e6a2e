use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

/// Writes that share one flush, at most.
const BATCH_MAX: usize = 1_024;

/// Makes rows durable: many that come at one time share one flush.
///
/// A thread of its own does so. sled's own `flush_async` waits in the pool of threads that does
/// sled's writes, and where enough of them wait nobody is left to write.
#[derive(Debug)]
pub(super) struct Committer {
    /// Bounded by the payments under way, each of which waits for its answer. There until the
    /// last moment.
    rows: Option<Sender<Row>>,
    writer: Option<JoinHandle<()>>,
}

struct Row {
    key: Vec<u8>,
    /// `None`: it goes.
    value: Option<Vec<u8>>,
    done: oneshot::Sender<Result<(), sled::Error>>,
}

impl Committer {
    pub(super) fn start(tree: sled::Tree) -> std::io::Result<Self> {
        let (rows, submitted) = channel();
        let writer = thread::Builder::new()
            .name("payment journal".to_owned())
            .spawn(move || run(&tree, &submitted))?;
        Ok(Self { rows: Some(rows), writer: Some(writer) })
    }

    /// Returns once the row would survive the death of the process; `None` if the writer has ended.
    pub(super) async fn write(
        &self,
        key: Vec<u8>,
        value: Option<Vec<u8>>,
    ) -> Option<Result<(), sled::Error>> {
        let (done, written) = oneshot::channel();
        self.rows.as_ref()?.send(Row { key, value, done }).ok()?;
        written.await.ok()
    }
}

/// The tree is closed with the journal, so that another can open it.
impl Drop for Committer {
    fn drop(&mut self) {
        self.rows = None;
        if self.writer.take().is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the writer of the payment journal failed");
        }
    }
}

/// Writes what comes until nobody is left to bring more.
fn run(tree: &sled::Tree, submitted: &Receiver<Row>) {
    while let Ok(first) = submitted.recv() {
        let mut batch = sled::Batch::default();
        let mut waiting = Vec::new();
        for Row { key, value, done } in
            [first].into_iter().chain(submitted.try_iter().take(BATCH_MAX))
        {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
            waiting.push(done);
        }
        let outcome = tree.apply_batch(batch).and_then(|()| tree.flush().map(drop));
        for done in waiting {
            // Whoever left does not want to know.
            drop(done.send(outcome.clone()));
        }
    }
}
