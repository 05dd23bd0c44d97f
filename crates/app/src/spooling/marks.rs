//! Which records of the spool belong to captures that were not answered as spooled.
//!
//! The ledger counts a capture as spooled when its append was answered. A record can leave the spool before that, and an
//! append whose answer is missing may have left a record nevertheless. Both are known by their ids until they are gone.

use std::{
    collections::{HashMap, HashSet},
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
    /// Ids with strays, or appends that may become strays, of which another append was answered as spooled.
    doubtful: HashSet<EntryId>,
}

/// What a record that left the spool is to the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Its capture was answered as spooled.
    AsSpooled,
    /// Its append was not answered yet.
    UnderWay,
    /// Its append was never answered, or with an error, and another append of the id was answered as spooled.
    AsStray,
    /// Its append was never answered, or with an error, and so was every other of the id.
    Unheard,
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
            let doubtful = known.doubtful.contains(&id);
            known.forget_doubt(id);
            if doubtful { Known::AsStray } else { Known::Unheard }
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

impl Ids {
    /// Without strays there is nothing to be mistaken for the record that was answered for.
    fn forget_doubt(&mut self, id: EntryId) {
        if !self.strays.contains_key(&id) && !self.under_way.contains_key(&id) {
            self.doubtful.remove(&id);
        }
    }
}

impl Appending<'_> {
    /// The append at this position was answered: it left a record for certain, or none.
    pub(super) fn is_certain(&mut self, position: usize, left_a_record: bool) {
        let (id, uncertain) = &mut self.ids[position];
        *uncertain = false;
        if left_a_record {
            let mut known = self.marks.lock();
            let others = known.under_way.get(id).is_some_and(|count| *count > 1);
            if others || known.strays.contains_key(id) {
                known.doubtful.insert(*id);
            }
        }
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
            known.forget_doubt(id);
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
