//! What the audit log tells of the past, kept in memory: what left each wallet within a day, what
//! waits for approval, which policy was set last.

use std::collections::{BTreeMap, HashMap};

use pentad_keystore::audit::{Entry, Event, Summary};
use pentad_primitives::Amount;

use super::PolicyError;
use super::judge::coins;

/// Seconds for which a payment counts against the limit.
const DAY: u64 = 24 * 3600;
/// Seconds that are counted together: bounds what is kept of a day.
const SLOT: u64 = 60;
/// Seconds after which a payment that waits is given up.
const WEEK: u64 = 7 * DAY;
/// Payments of one wallet that wait: more is no work for a person.
const PENDING_MAX: usize = 100;

/// A payment that waits for its approver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) wallet: String,
    /// Unix seconds.
    pub(crate) time: u64,
    pub(crate) reason: String,
    /// The request as it came, protobuf in hex.
    pub(crate) request: String,
    /// What the approver signs.
    pub(crate) text: String,
    /// The payment in whose place it would be made, by its transaction id; empty: none.
    pub(crate) replaces: String,
}

/// All wallets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Book {
    accounts: HashMap<String, Account>,
    /// By its id.
    pending: BTreeMap<String, Pending>,
}

/// One wallet.
#[derive(Clone, Debug, Default)]
struct Account {
    /// Units that left, by the slot of their time.
    spent: BTreeMap<u64, u64>,
    /// The policy that was set last, as JSON.
    policy: Option<String>,
}

impl Book {
    /// Takes note of an entry that is durable. What is spent was reserved before, unless the entry
    /// is read at the start.
    pub(crate) fn note(&mut self, entry: &Entry, is_replay: bool) {
        let account = self.accounts.entry(entry.wallet.clone()).or_default();
        match &entry.event {
            Event::PaymentSigned { spent, approval, dry_run, .. } => {
                self.pending.remove(approval);
                if is_replay && !dry_run {
                    account.add(entry.time, *spent);
                }
            }
            Event::PsbtSigned { spent, .. } if is_replay => account.add(entry.time, *spent),
            Event::PolicySet { policy } => account.policy = Some(policy.clone()),
            // Another wallet of the same name.
            Event::Created | Event::Restored => account.policy = None,
            Event::ApprovalRequested { approval, reason, request, text, replaces } => {
                let (wallet, time) = (entry.wallet.clone(), entry.time);
                let (reason, request, text) = (reason.clone(), request.clone(), text.clone());
                let replaces = replaces.clone();
                let pending = Pending { wallet, time, reason, request, text, replaces };
                self.pending.insert(approval.clone(), pending);
            }
            Event::Rejected { approval } => drop(self.pending.remove(approval)),
            Event::Carried { spent, policy } => {
                *account =
                    Account { spent: spent.iter().copied().collect(), policy: policy.clone() };
            }
            Event::ApprovalCarried { since, approval, reason, request, text, replaces } => {
                let (wallet, time, replaces) = (entry.wallet.clone(), *since, replaces.clone());
                let (reason, request, text) = (reason.clone(), request.clone(), text.clone());
                let pending = Pending { wallet, time, reason, request, text, replaces };
                self.pending.insert(approval.clone(), pending);
            }
            _ => {}
        }
    }

    /// Whether the policy in the wallet's file is the one that was set last, as far as the log
    /// knows.
    pub(crate) fn check_policy(&self, wallet: &str, policy: &str) -> Result<(), PolicyError> {
        match self.accounts.get(wallet).and_then(|account| account.policy.as_deref()) {
            Some(set) if set != policy => Err(PolicyError::Replaced),
            _ => Ok(()),
        }
    }

    /// Units that left a wallet within 24 hours.
    pub(crate) fn spent(&self, wallet: &str, now: u64) -> u64 {
        self.accounts.get(wallet).map_or(0, |account| account.since(now))
    }

    /// Counts units as spent before they are, so that two payments at one time do not both pass.
    pub(crate) fn reserve(
        &mut self,
        wallet: &str,
        units: u64,
        limit: Option<u64>,
        now: u64,
    ) -> Result<(), PolicyError> {
        let account = self.accounts.entry(wallet.to_owned()).or_default();
        let spent = account.since(now);
        if let Some(limit) = limit.filter(|limit| spent.saturating_add(units) > *limit) {
            let [limit, spent, asked]: [Amount; 3] = [limit, spent, units].map(coins);
            return Err(PolicyError::Limit { limit, spent, asked });
        }
        account.add(now, units);
        Ok(())
    }

    /// Takes a reservation back: the payment was not signed.
    pub(crate) fn release(&mut self, wallet: &str, units: u64, time: u64) {
        let spent = self.accounts.get_mut(wallet).map(|account| &mut account.spent);
        if let Some(spent) = spent.and_then(|spent| spent.get_mut(&(time / SLOT))) {
            *spent = spent.saturating_sub(units);
        }
    }

    /// Payments that wait, the oldest first; those that waited too long are gone.
    pub(crate) fn pending(&mut self, wallet: Option<&str>, now: u64) -> Vec<(String, Pending)> {
        self.pending.retain(|_, pending| pending.is_waiting(now));
        let mut list: Vec<_> = self
            .pending
            .iter()
            .filter(|(_, pending)| wallet.is_none_or(|wallet| pending.wallet == wallet))
            .map(|(id, pending)| (id.clone(), pending.clone()))
            .collect();
        list.sort_by_key(|(_, pending)| pending.time);
        list
    }

    /// Whether one more payment of a wallet may wait; or the one that waits already, when it is
    /// asked for again.
    pub(crate) fn room(
        &mut self,
        wallet: &str,
        request: &str,
        now: u64,
    ) -> Result<Option<(String, Pending)>, PolicyError> {
        let pending = self.pending(Some(wallet), now);
        let count = pending.len();
        match pending.into_iter().find(|(_, pending)| pending.request == request) {
            Some(same) => Ok(Some(same)),
            None if count >= PENDING_MAX => Err(PolicyError::TooMany(count)),
            None => Ok(None),
        }
    }
}

/// The writer of the log keeps a book of its own, of what is in the log and nothing else: in that
/// of the service payments are counted before.
impl Summary for Book {
    fn note(&mut self, entry: &Entry) {
        Self::note(self, entry, true);
    }

    fn carried(&self, now: u64) -> Vec<(String, Event)> {
        let oldest = now.saturating_sub(DAY) / SLOT;
        let account = |(wallet, account): (&String, &Account)| {
            let spent: Vec<_> =
                account.spent.range(oldest..).map(|(at, sum)| (*at, *sum)).collect();
            let policy = account.policy.clone();
            let is_empty = spent.is_empty() && policy.is_none();
            (!is_empty).then(|| (wallet.clone(), Event::Carried { spent, policy }))
        };
        let pending = self.pending.iter().filter(|(_, pending)| pending.is_waiting(now));
        let approval = |(approval, pending): (&String, &Pending)| {
            let Pending { wallet, time: since, reason, request, text, replaces } = pending.clone();
            let approval = approval.clone();
            (wallet, Event::ApprovalCarried { since, approval, reason, request, text, replaces })
        };
        self.accounts.iter().filter_map(account).chain(pending.map(approval)).collect()
    }
}

impl Pending {
    fn is_waiting(&self, now: u64) -> bool {
        self.time.saturating_add(WEEK) > now
    }
}

impl Account {
    fn add(&mut self, time: u64, units: u64) {
        let slot = self.spent.entry(time / SLOT).or_default();
        *slot = slot.saturating_add(units);
        // What is a day older than the latest payment counts no more.
        let oldest = time.saturating_sub(DAY) / SLOT;
        self.spent = self.spent.split_off(&oldest);
    }

    /// What counts: payments of the last 24 hours, to the slot.
    fn since(&self, now: u64) -> u64 {
        let oldest = now.saturating_sub(DAY) / SLOT;
        self.spent.range(oldest..).fold(0, |sum: u64, (_, units)| sum.saturating_add(*units))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn entry(time: u64, event: Event) -> Entry {
        Entry { number: 1, time, durable: 0, wallet: "alice".to_owned(), event }
    }

    fn signed(spent: u64, approval: &str) -> Event {
        Event::PaymentSigned {
            txid: String::new(),
            paid: Vec::new(),
            fee: 0,
            spent,
            dry_run: false,
            approval: approval.to_owned(),
            replaces: String::new(),
        }
    }

    fn requested(approval: &str, request: &str) -> Event {
        let (approval, request) = (approval.to_owned(), request.to_owned());
        let [reason, text, replaces] = [(); 3].map(|()| String::new());
        Event::ApprovalRequested { approval, reason, request, text, replaces }
    }

    #[test]
    fn what_left_counts_for_a_day_and_no_longer() {
        let mut book = Book::default();
        for (time, units) in [(NOW - DAY - 2 * SLOT, 1), (NOW - DAY / 2, 10), (NOW, 100)] {
            book.note(&entry(time, signed(units, "")), true);
        }
        assert_eq!(book.spent("alice", NOW), 110);
        assert_eq!(book.spent("alice", NOW + DAY / 2 + 2 * SLOT), 100);
        assert_eq!(book.spent("bob", NOW), 0);
    }

    #[test]
    fn reservations_at_one_time_never_pass_the_limit() {
        let mut book = Book::default();
        book.reserve("alice", 60, Some(100), NOW).expect("room");
        let error = book.reserve("alice", 41, Some(100), NOW).expect_err("too much");
        assert!(matches!(error, PolicyError::Limit { .. }));
        book.reserve("alice", 40, Some(100), NOW).expect("to the unit");
        book.release("alice", 60, NOW);
        assert_eq!(book.spent("alice", NOW + 5), 40);
        book.reserve("alice", u64::MAX, Some(100), NOW).expect_err("no overflow");
        book.reserve("bob", u64::MAX, None, NOW).expect("no limit");
    }

    /// What a file of the log begins with says as much as all before.
    #[test]
    fn what_is_carried_over_is_all_that_counts() {
        let mut book = Book::default();
        let request = requested("one", "request");
        let late = requested("late", "request");
        let policy = Event::PolicySet { policy: "{\"limit_per_day\":7}".to_owned() };
        for (time, event) in [
            (NOW - 2 * DAY, signed(1, "")),
            (NOW - WEEK - 1, late),
            (NOW - DAY / 2, signed(10, "")),
            (NOW - 60, policy),
            (NOW - 50, request),
            (NOW, signed(100, "")),
        ] {
            Summary::note(&mut book, &entry(time, event));
        }
        let mut next = Book::default();
        for (wallet, event) in book.carried(NOW) {
            Summary::note(&mut next, &Entry { wallet, ..entry(NOW + 5, event) });
        }
        assert_eq!(next.spent("alice", NOW), 110);
        assert_eq!(next.spent("alice", NOW + DAY / 2 + 2 * SLOT), 100);
        assert_eq!(next.pending(None, NOW), book.pending(None, NOW));
        assert_eq!(next.pending(None, NOW).len(), 1);
        next.check_policy("alice", "{}").expect_err("another one was set");
        next.check_policy("alice", "{\"limit_per_day\":7}").expect("the same");
        assert!(Book::default().carried(NOW).is_empty());
    }

    #[test]
    fn what_is_kept_of_a_day_is_bounded() {
        let mut book = Book::default();
        for second in 0..3 * DAY / 7 {
            book.reserve("alice", 1, None, NOW + 7 * second).expect("no limit");
        }
        assert!(book.accounts["alice"].spent.len() as u64 <= DAY / SLOT + 2);
    }

    #[test]
    fn payments_wait_until_they_are_signed_rejected_or_old() {
        let mut book = Book::default();
        for (id, time) in [("one", NOW - WEEK), ("two", NOW - 1), ("three", NOW), ("four", NOW)] {
            book.note(&entry(time, requested(id, id)), true);
        }
        assert_eq!(book.room("alice", "two", NOW).expect("room").expect("it waits").0, "two");
        book.note(&entry(NOW, signed(1, "two")), false);
        book.note(&entry(NOW, Event::Rejected { approval: "four".to_owned() }), false);
        let ids: Vec<_> = book.pending(None, NOW).into_iter().map(|(id, _)| id).collect();
        assert_eq!(ids, ["three"]);
        for number in 0..PENDING_MAX {
            book.note(&entry(NOW, requested(&number.to_string(), "")), false);
        }
        assert!(matches!(book.room("alice", "new", NOW), Err(PolicyError::TooMany(_))));
        book.room("bob", "new", NOW).expect("others have their own room");
    }

    #[test]
    fn another_file_than_the_log_knows_is_noticed() {
        let mut book = Book::default();
        book.check_policy("alice", "{}").expect("nothing is known");
        book.note(&entry(NOW, Event::PolicySet { policy: "new".to_owned() }), true);
        assert_eq!(book.check_policy("alice", "{}"), Err(PolicyError::Replaced));
        book.check_policy("alice", "new").expect("the same");
        book.note(&entry(NOW, Event::Created), true);
        book.check_policy("alice", "{}").expect("another wallet of this name");
    }
}
