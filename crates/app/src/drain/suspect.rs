//! A record at which the store fails although it takes others: how that is found out, and when it makes way.
//!
//! A store that fails at a record says nothing of whether the record or the store is to blame. So after a failure another one is
//! asked for: the next record that shares no key with those before it, or a caller's capture. Only when the store takes that one, the
//! failure counts against the record. A store that is down is asked no more often than without this.
//!
//! A store that is full, or writes nothing for another reason, still answers for what it knows. So where the failure may be of that
//! kind, only a record that is new to the store tells. What can't be kept is refused without the store, and never tells.

use std::{collections::HashSet, time::Duration};

use baldur_core::{
    BackendKind, EntryId,
    name::{DedupKey, OrderKey},
    port::{CaptureError, Spooled},
};
use tokio::time::Instant;

use super::{
    DrainPolicy, Shared, Step,
    batch::{Answer, trouble},
};
use crate::{
    ledger::Landing,
    spooling::{refused_for_good, was_written},
};

/// How many records are looked at to find one without the keys of those before it.
pub(super) const LOOK: usize = 64;

/// At which of the failures at others in a row a caller may try, too: the first one and every tenth. All that are looked at may be
/// such records. In an outage that is one caller in a minute.
const MISSES: usize = 10;

/// How many records that tell nothing are passed over at once.
const PASSED: usize = 8;

/// The record that the store failed at last.
#[derive(Clone, Debug)]
pub(super) struct Suspect {
    id: EntryId,
    /// How often the store had answered calls when it failed.
    answered: u64,
    turn: Turn,
    /// Whether its last failure counts against nobody yet.
    open: bool,
    /// How often the store failed at it and then took others.
    strikes: u32,
    /// When that happened first.
    since: Option<Instant>,
    error: String,
    /// How often in a row the store failed at others, too.
    misses: usize,
    /// Whether an answer for what the store knows already tells, after a failure like the last one.
    reads_tell: bool,
    /// Others that the store has.
    known: HashSet<EntryId>,
    /// Others that can't be kept.
    refused: HashSet<EntryId>,
    /// Whether it was logged.
    told: bool,
}

/// What the store is asked for next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Record,
    Another,
}

/// Whether the store takes others.
enum Others {
    Taken,
    /// It fails at them too.
    Failed(String),
    /// There are none that may be asked for.
    None,
}

impl Suspect {
    fn strike(&mut self) {
        self.open = false;
        self.strikes = self.strikes.saturating_add(1);
        self.misses = 0;
        self.since.get_or_insert_with(Instant::now);
    }

    fn for_how_long(&self) -> Duration {
        self.since.map(|since| since.elapsed()).unwrap_or_default()
    }

    /// Whether it is only a matter of time, so that no further record is to be spent on it.
    fn is_convicted(&self, policy: &DrainPolicy) -> bool {
        let attempts = policy.park_attempts;
        attempts > 0 && self.strikes >= attempts && self.for_how_long() < policy.park_after
    }

    /// Whether this answer to another one shows that the store is well.
    fn is_told_by(&self, answer: &Answer) -> bool {
        was_written(answer) || (self.reads_tell && answer.is_ok())
    }

    fn makes_way(&self, policy: &DrainPolicy) -> bool {
        let attempts = policy.park_attempts;
        attempts > 0 && self.strikes >= attempts && self.for_how_long() >= policy.park_after
    }
}

impl Shared {
    /// The store failed at a record. `takes_others` says whether it took any behind it in the same batch.
    pub(super) fn failed_at(&self, record: &Spooled, failed: Option<&Answer>, takes_others: bool) {
        let (id, error) = (record.capture.op.id, trouble(failed));
        let mut slot = self.suspect();
        let known = slot.take().filter(|suspect| suspect.id == id);
        let mut suspect = known.unwrap_or_else(|| Suspect {
            id,
            answered: 0,
            turn: Turn::Another,
            open: true,
            strikes: 0,
            since: None,
            error: String::new(),
            misses: 0,
            reads_tell: true,
            known: HashSet::new(),
            refused: HashSet::new(),
            told: false,
        });
        suspect.error.clone_from(&error);
        suspect.reads_tell = !may_be_of_writes(failed);
        suspect.turn = if takes_others { Turn::Record } else { Turn::Another };
        suspect.open = true;
        // A record that fails beside others says nothing about the store any more.
        if takes_others {
            suspect.strike();
            self.parts.gate.up();
        } else if suspect.strikes == 0 {
            self.parts.gate.down();
        }
        suspect.answered = self.parts.gate.answered();
        if suspect.strikes > 0 && !suspect.told {
            suspect.told = true;
            let domain = &record.capture.op.domain;
            tracing::warn!(%id, %domain, error, "drain.record_holds_up_its_lane");
        }
        *slot = Some(suspect);
    }

    /// The suspect, if the first of these records is it. Else there is none any more.
    pub(super) fn suspected(&self, records: &[Spooled]) -> Option<Suspect> {
        let first = records.first().map(|record| record.capture.op.id);
        let mut slot = self.suspect();
        if slot.as_ref().is_some_and(|suspect| Some(suspect.id) != first) {
            *slot = None;
            self.parts.gate.lets_callers_try(false);
        }
        slot.clone()
    }

    pub(super) fn is_suspicious(&self) -> bool {
        self.suspect().is_some()
    }

    /// Finds out about the first record: asks for another one, or for it alone.
    pub(super) async fn step_with(&self, mut suspect: Suspect, records: Vec<Spooled>) -> Step {
        let turn = std::mem::replace(&mut suspect.turn, Turn::Record);
        let others = match turn {
            _ if suspect.open && self.parts.gate.answered() != suspect.answered => {
                Some(Others::Taken)
            }
            Turn::Record => None,
            Turn::Another if self.parts.gate.is_up() && suspect.is_convicted(&self.policy) => None,
            Turn::Another => Some(self.ask_for_another(&mut suspect, &records).await),
        };
        match &others {
            Some(Others::Taken) => suspect.strike(),
            // One caller may tell.
            Some(Others::None) => self.parts.gate.lets_callers_try(true),
            Some(Others::Failed(_)) => {
                if suspect.misses.is_multiple_of(MISSES) {
                    self.parts.gate.lets_callers_try(true);
                }
                suspect.misses = suspect.misses.wrapping_add(1);
            }
            None => {}
        }
        *self.suspect() = Some(suspect.clone());
        let Some(record) = records.into_iter().next() else { return Step::Idle };
        match others {
            Some(Others::Failed(trouble)) => Step::Failed(trouble),
            Some(Others::Taken) if suspect.makes_way(&self.policy) => {
                self.park(&record, &suspect).await
            }
            Some(Others::Taken | Others::None) | None => self.move_records(vec![record]).await,
        }
    }

    async fn ask_for_another(&self, suspect: &mut Suspect, records: &[Spooled]) -> Others {
        let mut others = without_the_keys_before(records);
        others.retain(|other| {
            let id = &other.capture.op.id;
            !suspect.refused.contains(id) && (suspect.reads_tell || !suspect.known.contains(id))
        });
        // Another one each time: the store may fail at several.
        let turn = suspect.misses.checked_rem(others.len()).unwrap_or(0);
        others.rotate_left(turn);
        for other in others.into_iter().take(PASSED) {
            // It stays in its place: when its turn comes the store knows its id.
            match self.keep(vec![self.due(other)]).await.pop() {
                Some(answer) if is_definite(&answer) => {
                    let settled =
                        if answer.is_ok() { &mut suspect.known } else { &mut suspect.refused };
                    settled.insert(other.capture.op.id);
                    if suspect.is_told_by(&answer) {
                        self.parts.gate.up();
                        return Others::Taken;
                    }
                }
                failed => {
                    if suspect.strikes == 0 {
                        self.parts.gate.down();
                    }
                    return Others::Failed(trouble(failed.as_ref()));
                }
            }
        }
        Others::None
    }

    /// Puts a record aside that the store fails at, so that those behind it get their turn.
    async fn park(&self, record: &Spooled, suspect: &Suspect) -> Step {
        let (op, attempts) = (&record.capture.op, suspect.strikes);
        let seconds = suspect.for_how_long().as_secs();
        let reason = format!(
            "the store failed at it {attempts} times within {seconds} s while it took others, at last: {}",
            suspect.error
        );
        tracing::error!(id = %op.id, domain = %op.domain, attempts, reason, "drain.record_parked");
        let setting_aside = self.parts.spool.set_aside(record.position, reason);
        let leaving = vec![(op.id, Landing::Parked)];
        let started = Instant::now();
        match self.gone(record.position, leaving, setting_aside).await {
            Ok(()) => Step::Moved(started.elapsed()),
            // The store is asked for it again meanwhile: it may take it yet.
            Err(trouble) => Step::Failed(trouble),
        }
    }
}

/// Whether it is settled what becomes of a record.
fn is_definite(answer: &Answer) -> bool {
    match answer {
        Ok(_) => true,
        Err(error) => refused_for_good(error),
    }
}

/// Whether a store may fail like this at all that it would have to write, and at nothing that it only has to read.
fn may_be_of_writes(failed: Option<&Answer>) -> bool {
    let Some(Err(CaptureError::Backend(error))) = failed else { return false };
    matches!(
        error.kind(),
        BackendKind::Full | BackendKind::ReadOnly | BackendKind::Busy | BackendKind::Timeout
    )
}

/// The records whose keys none before them has: each may be stored before those, since nothing says which of them comes first.
fn without_the_keys_before(records: &[Spooled]) -> Vec<&Spooled> {
    let mut orders: HashSet<&OrderKey> = HashSet::new();
    let mut dedups: HashSet<&DedupKey> = HashSet::new();
    let mut free = Vec::new();
    for (position, record) in records.iter().enumerate() {
        let (order, dedup) = (&record.capture.op.order_key, &record.capture.op.dedup_key);
        let follows = order.as_ref().is_some_and(|key| orders.contains(key))
            || dedup.as_ref().is_some_and(|key| dedups.contains(key));
        if position > 0 && !follows {
            free.push(record);
        }
        orders.extend(order);
        dedups.extend(dedup);
    }
    free
}
