//! The conservation law of captures: every one that was offered is in exactly one account, at every instant.
//!
//! `offered = stored + merged + spooled + queued + in_flight + rejected + dropped + unknown`
//!
//! Sums are moved only by [`Ledger::offer`], which adds to both sides, and by transfers between accounts, each in one step under
//! one lock. So the law holds by construction, and a snapshot is never torn.

mod accounts;
mod counted;
mod resolve;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use baldur_core::{
    EntryId, Outcome,
    command::Capture,
    name::Domain,
    port::{CaptureError, Captured, Disposition, Durability},
};
use tokio::time::Instant;

pub use accounts::{Account, Balance, DropReason, RejectReason, Sums};
pub use counted::Counted;
pub(crate) use counted::answers_of;
pub use resolve::{ResolvePolicy, Resolver};

use crate::metrics;

/// How many captures without an answer are remembered by id. More stay `unknown`.
pub const MAX_UNRESOLVED: usize = 10_000;

/// Where every capture of this process is. Cheap to clone; clones share the sums.
#[derive(Clone, Default)]
pub struct Ledger {
    books: Arc<Mutex<Books>>,
}

#[derive(Debug, Default)]
struct Books {
    sums: Sums,
    /// Records that left the spool in the moment before their capture was counted as spooled: it goes where they went.
    early: HashMap<EntryId, Landing>,
    /// Records that left the spool, of captures that were not counted as spooled, or are counted for another record.
    strays: HashMap<EntryId, Landing>,
    /// Grows with each capture that is counted as spooled.
    spooled_ever: u64,
    unresolved: HashMap<EntryId, Unresolved>,
    /// When the spool was last seen without a record; `None` without a spool.
    spool_empty: Option<SpoolEmpty>,
}

/// When a spool was seen without a record.
#[derive(Clone, Copy, Debug)]
enum SpoolEmpty {
    NotYet,
    At(Instant),
}

/// A capture whose answer is missing.
#[derive(Clone, Copy, Debug)]
struct Unresolved {
    since: Instant,
    /// With a dedup key it may have merged, and then its id finds nothing.
    may_merge: bool,
}

/// Where a record of the spool went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Landing {
    Stored,
    Merged,
    SetAside,
    Parked,
}

impl Landing {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Merged => "merged",
            Self::SetAside => "set_aside",
            Self::Parked => "parked",
        }
    }

    fn account(self) -> Account<'static> {
        match self {
            Self::Stored => Account::Stored,
            Self::Merged => Account::Merged,
            Self::SetAside => Account::Rejected(RejectReason::SetAside),
            Self::Parked => Account::Rejected(RejectReason::Parked),
        }
    }
}

/// What the ledger must know of a capture to count its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    pub(crate) id: EntryId,
    pub(crate) may_merge: bool,
}

impl Ticket {
    pub(crate) fn of(capture: &Capture) -> Self {
        Self { id: capture.op.id, may_merge: capture.op.dedup_key.is_some() }
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("sums", &self.sums()).finish_non_exhaustive()
    }
}

impl Ledger {
    /// An empty ledger.
    pub fn new() -> Self {
        Self::default()
    }

    /// All sums at one instant.
    pub fn sums(&self) -> Sums {
        self.books().sums.clone()
    }

    /// Counts `n` captures as offered, and enters them in an account.
    pub fn offer(&self, to: Account<'_>, n: u64) {
        metrics::counter(metrics::CAPTURE_OFFERED, n);
        let mut books = self.books();
        books.sums.offered += n;
        books.credit(to, n);
    }

    /// Moves `n` captures from a balance to an account. A balance can't be overdrawn: what isn't there isn't moved, and is
    /// counted as [`Sums::overdrawn`], which stays 0 in a program without a mistake.
    pub fn transfer(&self, from: Balance, to: Account<'_>, n: u64) {
        let missing = self.books().transfer(from, to, n);
        if missing > 0 {
            tracing::error!(from = from.as_str(), missing, "ledger.overdrawn");
        }
    }

    /// Counts records that an earlier process left in the spool, or that were adopted: they are offered here for the first time.
    pub fn recovered(&self, n: u64) {
        if n == 0 {
            return;
        }
        metrics::counter(metrics::CAPTURE_OFFERED, n);
        let mut books = self.books();
        books.sums.offered += n;
        books.sums.recovered += n;
        books.credit(Account::Spooled, n);
    }

    /// Counts what a store answered to a capture that was in flight.
    pub(crate) fn answered(&self, ticket: Ticket, answer: Option<&Result<Captured, CaptureError>>) {
        let to = match answer {
            Some(Ok(captured)) => match captured.durability {
                Durability::Stored { .. } => Some(landing_of(ticket.id, captured).account()),
                Durability::Spooled => Some(Account::Spooled),
                // Nobody has made these durable yet, and no port below a ledger answers them.
                Durability::Queued | Durability::Enlisted => None,
            },
            Some(Err(error)) if error.outcome() == Outcome::NotApplied => {
                Some(Account::Rejected(RejectReason::of(error)))
            }
            Some(Err(_)) | None => None,
        };
        match to {
            Some(Account::Spooled) => self.spooled(ticket.id),
            Some(to) => self.transfer(Balance::InFlight, to, 1),
            None => self.lost_sight(Balance::InFlight, ticket),
        }
    }

    /// Nobody knows what became of a capture; its id is remembered to find out.
    pub(crate) fn lost_sight(&self, from: Balance, ticket: Ticket) {
        let mut books = self.books();
        books.transfer(from, Account::Unknown, 1);
        if books.unresolved.len() < MAX_UNRESOLVED {
            let entry = Unresolved { since: Instant::now(), may_merge: ticket.may_merge };
            // A repeated capture whose answer is missing again stays one id, so the other is not resolved any more.
            if books.unresolved.insert(ticket.id, entry).is_some() {
                books.transfer(Balance::Unknown, Account::Rejected(RejectReason::Superseded), 1);
            }
        } else {
            books.sums.unresolvable += 1;
        }
    }

    fn spooled(&self, id: EntryId) {
        let mut books = self.books();
        let landed = books.early.remove(&id);
        books.transfer(Balance::InFlight, landed.map_or(Account::Spooled, Landing::account), 1);
    }

    /// Counts a record that left the spool, whose capture was answered as spooled, or is about to be.
    pub(crate) fn landed(&self, id: EntryId, landing: Landing) {
        let mut books = self.books();
        // This is the record that was counted as spooled, so no stray of the id was.
        books.strays.remove(&id);
        if books.unresolved.remove(&id).is_some() {
            books.transfer(Balance::Unknown, landing.account(), 1);
        } else if books.sums.spooled > 0 {
            books.transfer(Balance::Spooled, landing.account(), 1);
        } else if books.early.len() < MAX_UNRESOLVED {
            books.early.insert(id, landing);
        }
    }

    /// Counts a record that left the spool, whose append was not answered. If nobody waits to know, the capture is counted elsewhere.
    pub(crate) fn landed_unheard(&self, id: EntryId, landing: Landing) {
        self.resolved(id, landing.account());
    }

    /// The same, where another append of the id was answered as spooled, so that this may have been its record.
    pub(crate) fn landed_astray(&self, id: EntryId, landing: Landing) {
        let mut books = self.books();
        if books.unresolved.remove(&id).is_some() {
            books.transfer(Balance::Unknown, landing.account(), 1);
        } else if books.strays.len() < MAX_UNRESOLVED {
            books.strays.insert(id, landing);
        }
    }

    /// Captures may wait in a spool from here on, also those without an answer.
    pub(crate) fn watches_spool(&self) {
        self.books().spool_empty.get_or_insert(SpoolEmpty::NotYet);
    }

    /// The spool had no record at this moment, and what left it before is counted.
    pub(crate) fn spool_seen_empty(&self, at: Instant) {
        self.books().spool_empty = Some(SpoolEmpty::At(at));
    }

    /// A mark for [`spool_was_empty`](Self::spool_was_empty), to be taken before looking.
    pub(crate) fn spool_mark(&self) -> u64 {
        self.books().spooled_ever
    }

    /// The spool had no record at some moment since `mark`. Returns how many captures were counted as spooled and are not there any more.
    ///
    /// Says nothing while captures are under way, which may be about to be counted as spooled.
    pub(crate) fn spool_was_empty(&self, mark: u64) -> u64 {
        let mut books = self.books();
        if books.spooled_ever != mark || books.sums.in_flight > 0 {
            return 0;
        }
        // What landed early and was never counted belongs to captures that were resolved by their ids.
        books.early.clear();
        // An append that failed may have left no record: then the one that left was that of a later append of the id.
        for (_, landing) in std::mem::take(&mut books.strays) {
            if books.sums.spooled > 0 {
                books.transfer(Balance::Spooled, landing.account(), 1);
            }
        }
        let gone = books.sums.spooled;
        let other = Domain::other();
        books.transfer(Balance::Spooled, Account::Dropped(DropReason::SpoolDamaged, &other), gone);
        gone
    }

    /// The ids without an answer that have waited longest, at most `limit`.
    fn unresolved(&self, limit: usize) -> Vec<(EntryId, Unresolved)> {
        let mut waiting: Vec<_> =
            self.books().unresolved.iter().map(|(id, entry)| (*id, *entry)).collect();
        waiting.sort_unstable_by_key(|(_, entry)| entry.since);
        waiting.truncate(limit);
        waiting
    }

    /// Whether a capture that got no answer at `since` may be in the spool.
    fn may_be_spooled(&self, since: Instant) -> bool {
        match self.books().spool_empty {
            None => false,
            Some(SpoolEmpty::NotYet) => true,
            Some(SpoolEmpty::At(at)) => at <= since,
        }
    }

    fn resolved(&self, id: EntryId, to: Account<'_>) {
        let mut books = self.books();
        if books.unresolved.remove(&id).is_some() {
            books.transfer(Balance::Unknown, to, 1);
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // Every step is complete or has not begun when something panics, so a poisoned lock still guards true sums.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a stored capture is an entry of its own.
pub(crate) fn landing_of(id: EntryId, captured: &Captured) -> Landing {
    match captured.disposition {
        Disposition::New | Disposition::Repeated if captured.id == id => Landing::Stored,
        Disposition::New | Disposition::Repeated | Disposition::Merged => Landing::Merged,
    }
}

impl Books {
    /// How much was missing.
    fn transfer(&mut self, from: Balance, to: Account<'_>, n: u64) -> u64 {
        let balance = self.sums.balance(from);
        let moved = n.min(*balance);
        *balance -= moved;
        metrics::held(from.as_str(), moved, false);
        self.credit(to, moved);
        self.sums.overdrawn += n - moved;
        n - moved
    }

    fn credit(&mut self, to: Account<'_>, n: u64) {
        if to == Account::Spooled {
            self.spooled_ever += n;
        }
        self.sums.credit(to, n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_lands_before_it_is_counted_as_spooled_ends_where_it_landed() {
        let ledger = Ledger::new();
        let id = baldur_core::id::mint(&crate::OsIdGen, baldur_core::Timestamp::UNIX_EPOCH, None);
        ledger.offer(Account::InFlight, 2);
        ledger.landed(id, Landing::Stored);
        assert_eq!((ledger.sums().stored, ledger.sums().in_flight), (0, 2));
        ledger.spooled(id);
        ledger.transfer(Balance::InFlight, Account::Spooled, 1);
        let sums = ledger.sums();
        assert!(sums.balances(), "{sums:?}");
        assert_eq!((sums.stored, sums.spooled, sums.in_flight), (1, 1, 0));
    }

    #[test]
    fn a_balance_cant_be_overdrawn() {
        let ledger = Ledger::new();
        ledger.offer(Account::Queued, 1);
        ledger.transfer(Balance::Queued, Account::Stored, 3);
        let sums = ledger.sums();
        assert!(sums.balances(), "{sums:?}");
        assert_eq!((sums.stored, sums.overdrawn), (1, 2));
    }

    #[test]
    fn an_empty_spool_says_what_is_gone_only_when_nothing_is_under_way() {
        let ledger = Ledger::new();
        ledger.recovered(2);
        ledger.offer(Account::InFlight, 1);
        let mark = ledger.spool_mark();
        assert_eq!(ledger.spool_was_empty(mark), 0, "one capture is under way");
        ledger.transfer(Balance::InFlight, Account::Spooled, 1);
        assert_eq!(ledger.spool_was_empty(mark), 0, "one was spooled since the mark");
        assert_eq!(ledger.spool_was_empty(ledger.spool_mark()), 3);
        let sums = ledger.sums();
        assert!(sums.balances(), "{sums:?}");
        assert_eq!((sums.spooled, sums.dropped["spool_damaged"]), (0, 3));
    }
}
