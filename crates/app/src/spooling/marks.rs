//! Which records of the spool belong to captures that were not answered as spooled.
//!
//! The ledger counts a capture as spooled when its append was answered. A record can leave the spool before that, and an
//! append whose answer is missing may have left a record nevertheless. Both are known by their ids until they are gone.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use baldur_core::EntryId;

/// How many ids are known at most. Beyond, a stray record is counted like any other.
const MAX_STRAYS: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct Marks {
    ids: Mutex<Ids>,
}

#[derive(Debug, Default)]
struct Ids {
    under_way: HashMap<EntryId, u32>,
    strays: HashMap<EntryId, u32>,
}

/// What a record that left the spool is to the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Its capture was answered as spooled.
    AsSpooled,
    /// Its append was not answered yet.
    UnderWay,
    /// Its append was never answered, or with an error.
    AsStray,
}

/// Appends that are under way. Those without an end become strays.
#[derive(Debug)]
pub(super) struct Appending<'m> {
    marks: &'m Marks,
    /// Each with whether it may have left a record that nobody knows of.
    ids: Vec<(EntryId, bool)>,
}

impl Marks {
    pub(super) fn begin(&self, ids: impl Iterator<Item = EntryId>) -> Appending<'_> {
        let ids: Vec<(EntryId, bool)> = ids.map(|id| (id, true)).collect();
        let mut known = self.lock();
        for (id, _) in &ids {
            *known.under_way.entry(*id).or_default() += 1;
        }
        drop(known);
        Appending { marks: self, ids }
    }

    /// What the ledger knows of a record that left the spool.
    pub(crate) fn left(&self, id: EntryId) -> Known {
        let mut known = self.lock();
        if take_one(&mut known.strays, id) {
            Known::AsStray
        } else if known.under_way.contains_key(&id) {
            Known::UnderWay
        } else {
            Known::AsSpooled
        }
    }

    fn lock(&self) -> MutexGuard<'_, Ids> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Appending<'_> {
    /// The append at this position was answered: it left a record for certain, or none.
    pub(super) fn is_certain(&mut self, position: usize) {
        self.ids[position].1 = false;
    }
}

impl Drop for Appending<'_> {
    fn drop(&mut self) {
        let mut known = self.marks.lock();
        for (id, uncertain) in self.ids.drain(..) {
            take_one(&mut known.under_way, id);
            if uncertain && known.strays.len() < MAX_STRAYS {
                *known.strays.entry(id).or_default() += 1;
            }
        }
    }
}

fn take_one(counts: &mut HashMap<EntryId, u32>, id: EntryId) -> bool {
    let Some(count) = counts.get_mut(&id) else { return false };
    *count -= 1;
    if *count == 0 {
        counts.remove(&id);
    }
    true
}
