use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pentad_api::Connection;
use pentad_api::wallet::v1::SendRequest;
use pentad_api::wallet::v1::audit_service_server::AuditServiceServer;
use pentad_api::wallet::v1::keystore_service_server::KeystoreServiceServer;
use pentad_api::wallet::v1::policy_service_server::PolicyServiceServer;
use pentad_api::wallet::v1::psbt_service_server::PsbtServiceServer;
use pentad_api::wallet::v1::wallet_service_server::WalletServiceServer;
use pentad_crypto::Address;
use pentad_service_kit::{Metrics, Server, Supervisor, health, sized};
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::balance::Balance;
use crate::chain::ChainClient;
use crate::config::WalletConfig;
use crate::error::WalletError;
use crate::labels::Labels;
use crate::ledger::{Ledger, LedgerError, follow};
use crate::metrics::{Kept, WalletMetrics, sample};
use crate::payment::{Journal, JournalError, KeyTurns, Order};
use crate::policy::Book;
use crate::send::Sent;
use crate::settle::{Rounds, claimed};
use pentad_keystore::audit::{AuditError, AuditLog};
use pentad_keystore::{
    Chain, Keystore, KeystoreError, Passphrase, PassphraseError, Wallet, WalletName, audit_log,
    prepare_private, wallets_directory,
};

/// Directory of the payment journal, in the data directory.
const JOURNAL: &str = "payments";
/// Tree of the journal with the labels of the wallets.
const LABELS: &str = "labels";
/// Directory of the ledger, in the data directory: made anew from the blocks when it is gone.
const LEDGER: &str = "wallet-ledger";
/// Passphrases that are hashed at one time: each takes the memory that the KDF asks for.
const KDF_PERMITS: usize = 2;
/// How often the service looks after its keys and payments.
const TICK: Duration = Duration::from_millis(500);

/// The wallets of a node: keystore and payments. Cheap to clone.
#[derive(Clone)]
pub struct Wallets {
    pub(crate) inner: Arc<Inner>,
    chain: Connection,
}

/// What payments and calls share.
pub(crate) struct Inner {
    keystore: Arc<Keystore>,
    pub(crate) chain: ChainClient,
    pub(crate) journal: Journal,
    pub(crate) labels: Arc<Labels>,
    pub(crate) audit: AuditLog,
    pub(crate) book: Mutex<Book>,
    /// Held while it is written down that a payment waits.
    pub(crate) asking: tokio::sync::Mutex<()>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) key_turns: KeyTurns,
    pub(crate) metrics: WalletMetrics,
    pub(crate) fee_rate: u64,
    kdf: Semaphore,
    /// Payments under way.
    pub(crate) payments: TaskTracker,
}

/// Why the wallet service cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The keystore cannot be opened.
    #[error("cannot open the keystore: {0}")]
    Keystore(#[from] KeystoreError),
    /// The passphrase file cannot be used.
    #[error("wallet.passphrase_file: {0}")]
    PassphraseFile(#[from] PassphraseError),
    /// The journal of payments cannot be opened.
    #[error("{0} (does another process use this data directory?)")]
    Journal(#[from] JournalError),
    /// The audit log cannot be opened, or was altered.
    #[error("{0}")]
    Audit(#[from] AuditError),
    /// The ledger of the wallets cannot be opened.
    #[error("{0} (does another process use this data directory?)")]
    Ledger(#[from] LedgerError),
    /// The runtime ended.
    #[error(transparent)]
    Task(#[from] tokio::task::JoinError),
}

impl Wallets {
    /// Opens the wallets in `data_dir` and unlocks those that unlock by themselves. After
    /// `shutdown` payments that have begun are finished. The chain service need not be there yet.
    ///
    /// # Errors
    /// When the data directory or the passphrase file cannot be used.
    pub async fn start(
        config: WalletConfig,
        data_dir: &Path,
        chain: Connection,
        metrics: &Metrics,
        supervisor: &Supervisor,
        shutdown: CancellationToken,
    ) -> Result<Self, StartError> {
        let [journal, ledger] = [JOURNAL, LEDGER].map(|name| data_dir.join(name));
        let directory = wallets_directory(data_dir);
        let audit = audit_log(data_dir);
        let WalletConfig { passphrase_file, kdf, fee_rate } = config;
        let own_metrics = WalletMetrics::register(metrics);
        let times = own_metrics.writes.clone();
        // Key derivation and recovery block: not on the runtime's threads.
        let opening = tokio::task::spawn_blocking(move || -> Result<_, StartError> {
            let service = passphrase_file.as_deref().map(Passphrase::from_file).transpose()?;
            let keystore = Keystore::open(directory, kdf, service)?;
            [&journal, &ledger].into_iter().try_for_each(|it| prepare_private(it))?;
            // One process alone has the journal open, and so the ledger and the audit log.
            let (journal, ledger) = (Journal::open(&journal, times)?, Ledger::open(&ledger)?);
            claim(&ledger, &journal);
            for (_, wallet) in keystore.list()? {
                // One that cannot be read is told of where it is listed.
                if let Ok(wallet) = wallet {
                    ledger.watch(&wallet)?;
                    give_back(&wallet, &ledger, &journal)?;
                }
            }
            let (audit, book) = AuditLog::open(audit, Book::default())?;
            Ok((keystore, journal, ledger, audit, book))
        });
        let (keystore, journal, ledger, audit, book) = opening.await??;
        let labels = Arc::new(Labels::new(journal.tree(LABELS)?));
        let inner = Arc::new(Inner {
            keystore: Arc::new(keystore),
            chain: ChainClient::new(chain.clone()),
            ledger: Arc::new(ledger),
            journal,
            labels,
            audit,
            book: Mutex::new(book),
            asking: tokio::sync::Mutex::default(),
            key_turns: KeyTurns::default(),
            metrics: own_metrics,
            fee_rate,
            kdf: Semaphore::new(KDF_PERMITS),
            payments: TaskTracker::new(),
        });
        sample(metrics, &inner);
        let following = follow(Arc::clone(&inner.ledger), inner.chain.clone());
        let following = shutdown.clone().run_until_cancelled_owned(following);
        supervisor.spawn("ledger", async {
            following.await;
            Ok::<_, LedgerError>(())
        });
        supervisor.spawn("wallets", mind(Arc::clone(&inner), shutdown));
        Ok(Self { inner, chain })
    }

    /// Adds the gRPC services and their health to a server.
    #[must_use]
    pub fn add_to(&self, server: Server) -> Server {
        let chain = health::remote("chain", self.chain.clone(), "pentad.chain.v1.ChainService");
        let inner = Arc::clone(&self.inner);
        let keystore = health::probe("keystore", move || {
            let inner = Arc::clone(&inner);
            async move {
                let checked = inner.blocking(|keystore| Ok(keystore.check()?)).await;
                checked.map_err(|error| error.to_string())
            }
        });
        let both = || [chain.clone(), keystore.clone()];
        server
            .service(sized!(KeystoreServiceServer::new(self.clone())), both())
            .service(sized!(WalletServiceServer::new(self.clone())), both())
            .service(sized!(PsbtServiceServer::new(self.clone())), both())
            .service(sized!(PolicyServiceServer::new(self.clone())), both())
            .service(sized!(AuditServiceServer::new(self.clone())), [keystore.clone()])
    }

    /// Pays, and goes on paying when the caller leaves: nobody could tell how far it had come.
    pub(crate) async fn send(&self, request: SendRequest) -> Result<Sent, WalletError> {
        let network = self.inner.chain.network().await?;
        let order = Order::check(request, &network, self.inner.fee_rate)?;
        let inner = Arc::clone(&self.inner);
        let paying = async move { inner.pay(order).await };
        self.inner.payments.spawn(paying.in_current_span()).await?
    }

    pub(crate) async fn balance(&self, name: WalletName) -> Result<Balance, WalletError> {
        let inner = &self.inner;
        let wallet = inner.wallet(name).await?;
        inner.find_addresses(&wallet).await?;
        inner.ledger.catch_up(wallet.name(), &inner.chain.tip().await?).await?;
        let state = inner.ledger.state();
        Ok(state.wallet(wallet.name()).map(|holding| holding.balance).unwrap_or_default())
    }
}

impl Inner {
    /// The wallet of this name.
    pub(crate) async fn wallet(&self, name: WalletName) -> Result<Arc<Wallet>, WalletError> {
        let wallet = self.blocking(move |keystore| Ok(keystore.get(&name)?)).await?;
        self.looked_after(wallet)
    }

    /// A wallet that the ledger looks after: the first time, its coins are looked for.
    pub(crate) fn looked_after(&self, wallet: Arc<Wallet>) -> Result<Arc<Wallet>, WalletError> {
        let is_watched = self.ledger.state().is_watched(wallet.name());
        if !is_watched {
            self.ledger.watch(&wallet)?;
        }
        Ok(wallet)
    }

    /// Hands out the next address of a wallet.
    pub(crate) async fn issue(
        &self,
        wallet: &Arc<Wallet>,
        chain: Chain,
    ) -> Result<Address, WalletError> {
        let address = self.on_disk(wallet, move |wallet| wallet.issue(chain)).await?;
        self.ledger.watch_address(wallet.name(), address);
        Ok(address)
    }

    /// An address for change of a wallet.
    pub(crate) async fn change_address(
        &self,
        wallet: &Arc<Wallet>,
    ) -> Result<Address, WalletError> {
        let address = match wallet.ready_change() {
            Some(ready) => ready,
            None => self.on_disk(wallet, Wallet::change_address).await?,
        };
        self.ledger.watch_address(wallet.name(), address);
        Ok(address)
    }

    /// Runs what writes a wallet's file.
    pub(crate) async fn on_disk<T: Send + 'static>(
        &self,
        wallet: &Arc<Wallet>,
        work: impl FnOnce(&Wallet) -> Result<T, KeystoreError> + Send + 'static,
    ) -> Result<T, WalletError> {
        let wallet = Arc::clone(wallet);
        let writing = async { Ok(tokio::task::spawn_blocking(move || work(&wallet)).await??) };
        self.metrics.writes.wait(Kept::Wallet, writing).await
    }

    /// Runs what reads or writes files of the keystore.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Keystore) -> Result<T, WalletError> + Send + 'static,
    ) -> Result<T, WalletError> {
        let keystore = Arc::clone(&self.keystore);
        tokio::task::spawn_blocking(move || work(&keystore)).await?
    }

    /// Runs what hashes a passphrase: few at one time, the others wait their turn.
    pub(crate) async fn hashing<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Keystore) -> Result<T, WalletError> + Send + 'static,
    ) -> Result<T, WalletError> {
        let _permit = self.kdf.acquire().await.expect("the semaphore is never closed");
        self.blocking(work).await
    }
}

/// Claims the coins of payments that are not settled yet.
fn claim(ledger: &Ledger, journal: &Journal) {
    for versions in journal.list_unsettled() {
        if !ledger.state().claim(&claimed(&versions)) {
            let txid = versions.last().map(|(_, payment)| payment.txid.to_string());
            tracing::warn!(txid, "another payment uses the same coins");
        }
    }
}

/// Change addresses that were kept ready when the process ended are used before new ones.
fn give_back(wallet: &Wallet, ledger: &Ledger, journal: &Journal) -> Result<(), StartError> {
    let mut unused = ledger.unused_change(wallet)?;
    if unused.is_empty() {
        return Ok(());
    }
    let mut promised = HashSet::new();
    for (key, _) in journal.list_unsettled().into_iter().flatten() {
        let outputs = journal.get(&key)?.map(|record| record.made.transaction.outputs);
        promised.extend(outputs.into_iter().flatten().map(|output| output.script_pubkey));
    }
    // The last one that comes back goes first.
    unused.reverse();
    let free = unused.into_iter().filter(|it| !promised.contains(&it.script_pubkey()));
    free.for_each(|address| wallet.give_back(address));
    Ok(())
}

/// Wipes keys whose time is over, and sees payments through; at the end waits for those under way.
async fn mind(inner: Arc<Inner>, shutdown: CancellationToken) -> Result<(), WalletError> {
    let mut rounds = Rounds::default();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let minding = async {
        loop {
            ticks.tick().await;
            inner.keystore.lock_expired(Instant::now());
            if let Err(error) = rounds.run(&inner).await {
                tracing::debug!(%error, "payments could not be looked at");
            }
        }
    };
    shutdown.run_until_cancelled(minding).await;
    inner.payments.close();
    inner.payments.wait().await;
    tokio::task::spawn_blocking(move || {
        inner.ledger.flush()?;
        Ok(inner.journal.flush()?)
    })
    .await?
}

impl fmt::Debug for Wallets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wallets").finish_non_exhaustive()
    }
}
