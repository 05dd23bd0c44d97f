//! What callers were told, and whether it was kept.

use std::collections::{BTreeMap, BTreeSet};

use baldur_core::EntryId;

use crate::protocol::{Level, Said};

/// What the callers of one victim were told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    /// For each entry that must be there.
    promised: BTreeMap<EntryId, &'static str>,
    /// Entries that were only queued, in the order in which callers were told.
    queued: Vec<EntryId>,
}

/// What all callers were told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Promises {
    promised: BTreeMap<EntryId, &'static str>,
    /// Queued in memory when their process was killed: they may be lost, and nobody was told otherwise.
    only_queued: BTreeSet<EntryId>,
}

impl Told {
    /// Takes note of a line.
    pub(crate) fn note(&mut self, said: &Said) {
        match said {
            Said::Acknowledged(Level::Stored, id) => {
                self.promised.insert(*id, "stored");
            }
            Said::Acknowledged(Level::Spooled, id) => {
                self.promised.insert(*id, "spooled");
            }
            Said::Acknowledged(Level::Queued, id) => self.queued.push(*id),
            Said::Flushed(count) => {
                let count = usize::try_from(*count).unwrap_or(usize::MAX).min(self.queued.len());
                for id in &self.queued[..count] {
                    self.promised.insert(*id, "flushed");
                }
            }
            Said::Ready | Said::Held(_) | Said::Settled | Said::Failed(_) => {}
        }
    }

    /// How many callers were told something.
    pub(crate) fn count(&self) -> usize {
        self.promised.len().max(self.queued.len())
    }
}

impl Promises {
    /// Adds what one victim's callers were told.
    pub(crate) fn add(&mut self, told: Told) {
        let Told { promised, queued } = told;
        self.only_queued.extend(queued.into_iter().filter(|id| !promised.contains_key(id)));
        self.promised.extend(promised);
    }

    /// Compares with the entries that are there, each with the number of times that it is.
    pub(crate) fn verdict(&self, there: &BTreeMap<EntryId, u64>) -> Verdict {
        let lost = self.promised.iter().filter(|(id, _)| !there.contains_key(*id));
        let of_level = |level| self.promised.values().filter(|known| **known == level).count();
        Verdict {
            stored: of_level("stored"),
            spooled: of_level("spooled"),
            flushed: of_level("flushed"),
            lost: lost.map(|(id, level)| format!("{id} ({level})")).collect(),
            doubled: there
                .iter()
                .filter(|(_, times)| **times != 1)
                .map(|(id, _)| id.to_string())
                .collect(),
            only_queued: self.only_queued.len(),
            only_queued_lost: self.only_queued.iter().filter(|id| !there.contains_key(*id)).count(),
            unannounced: there
                .keys()
                .filter(|id| !self.promised.contains_key(*id) && !self.only_queued.contains(*id))
                .count(),
        }
    }
}

/// Whether promises were kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Verdict {
    /// Callers that were told `stored`.
    pub(crate) stored: usize,
    /// Callers that were told `spooled`.
    pub(crate) spooled: usize,
    /// Callers that were told `queued`, whose flush then succeeded.
    pub(crate) flushed: usize,
    /// Promised entries that are not there.
    pub(crate) lost: Vec<String>,
    /// Entries that are there more than once.
    pub(crate) doubled: Vec<String>,
    /// Callers that were told `queued` and no more before the kill.
    pub(crate) only_queued: usize,
    /// How many of these are not there, as they were told may happen.
    pub(crate) only_queued_lost: usize,
    /// Entries whose callers heard nothing, because the kill came first.
    pub(crate) unannounced: usize,
}

impl Verdict {
    /// Whether nothing is lost or doubled.
    pub(crate) fn is_good(&self) -> bool {
        self.lost.is_empty() && self.doubled.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> EntryId {
        EntryId::from_bytes([n; 16])
    }

    #[test]
    fn what_was_flushed_before_the_kill_is_promised_and_the_rest_is_not() {
        let mut told = Told::default();
        for n in 1..=3 {
            told.note(&Said::Acknowledged(Level::Queued, id(n)));
        }
        told.note(&Said::Flushed(2));
        told.note(&Said::Acknowledged(Level::Stored, id(9)));
        let mut promises = Promises::default();
        promises.add(told);
        let verdict = promises.verdict(&BTreeMap::from([(id(1), 1), (id(9), 2), (id(8), 1)]));
        assert_eq!(verdict.lost, [format!("{} (flushed)", id(2))]);
        assert_eq!(verdict.doubled, [id(9).to_string()]);
        assert_eq!((verdict.only_queued, verdict.only_queued_lost, verdict.unannounced), (1, 1, 1));
        assert!(!verdict.is_good());
    }
}
