//! Whether each entry was settled once, and handled once unless a claim ran out.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use baldur_core::{Cause, ClaimToken, EntryId, EvidenceEvent, Status};

use crate::{
    Failure,
    handling::{Book, Deed},
    place::Store,
};

/// What an entry has when it was captured, claimed and settled, and nothing else happened to it.
const SMOOTH: u64 = 3;
/// How many entries are looked up, and how many records of one are read, at a time.
const BATCH: usize = 1_000;

/// What became of the entries.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub(crate) struct Reckoning {
    pub(crate) entries: usize,
    /// Handlings; as many as entries when no claim ran out.
    pub(crate) handled: usize,
    /// Entries that were handled more than once, and claims that ran out, which is why.
    pub(crate) again: usize,
    pub(crate) lapses: usize,
    /// Workers that were told that their claim was somebody else's by then.
    pub(crate) stale: usize,
    /// Entries that are not settled.
    pub(crate) unsettled: Vec<String>,
    /// Entries that two held at once, or that were settled more than once, each with what is wrong.
    pub(crate) doubled: Vec<String>,
}

impl Reckoning {
    pub(crate) fn is_good(&self) -> bool {
        self.unsettled.is_empty() && self.doubled.is_empty()
    }

    /// Compares the books with the store.
    pub(crate) async fn of(
        store: &Store,
        ids: &[EntryId],
        books: &[PathBuf],
    ) -> Result<Self, Failure> {
        let mut told: BTreeMap<EntryId, Told> = BTreeMap::new();
        for book in books {
            for deed in Book::read(book)? {
                match deed {
                    Deed::Handled(id, token) => told.entry(id).or_default().handled.push(token),
                    Deed::Settled(id, token) => told.entry(id).or_default().settled.push(token),
                    Deed::Stale(id, _) => told.entry(id).or_default().stale += 1,
                }
            }
        }
        let mut reckoning = Self { entries: ids.len(), ..Self::default() };
        for ids in ids.chunks(BATCH) {
            let found = store.reader.find(ids.to_vec()).await?;
            for (id, op) in ids.iter().zip(found) {
                let told = told.remove(id).unwrap_or_default();
                let state = op.map(|op| (op.state.status, op.state.evidence_count));
                reckoning.add(store, *id, state, &told).await?;
            }
        }
        let foreign = told.keys().map(|id| format!("{id}: nobody captured it"));
        reckoning.doubled.extend(foreign);
        Ok(reckoning)
    }

    async fn add(
        &mut self,
        store: &Store,
        id: EntryId,
        state: Option<(Status, u64)>,
        told: &Told,
    ) -> Result<(), Failure> {
        self.handled += told.handled.len();
        self.again += usize::from(told.handled.len() > 1);
        self.stale += told.stale;
        let trail = match state {
            Some((Status::Resolved, SMOOTH)) => Trail { claims: 1, lapses: 0, settles: 1 },
            Some((Status::Resolved, _)) => Trail::read(store, id).await?,
            other => {
                self.unsettled.push(format!("{id}: {:?}", other.map(|(status, _)| status)));
                return Ok(());
            }
        };
        self.lapses += trail.lapses;
        self.doubled.extend(told.faults(trail).map(|fault| format!("{id}: {fault}")));
        Ok(())
    }

    /// The report for people.
    pub(crate) fn lines(&self) -> Vec<String> {
        let Self { entries, handled, again, lapses, stale, unsettled, doubled } = self;
        vec![
            format!("  {:<22}{entries}", "entries"),
            format!(
                "  {:<22}{handled}; {again} entries more than once, {lapses} claims ran out, {stale} settles were too late",
                "handled"
            ),
            format!("  {:<22}{}", "not settled", crate::listed(unsettled)),
            format!("  {:<22}{}", "doubled", crate::listed(doubled)),
        ]
    }
}

/// What workers said of an entry.
#[derive(Clone, Debug, Default)]
struct Told {
    handled: Vec<ClaimToken>,
    settled: Vec<ClaimToken>,
    stale: usize,
}

/// What the store says of an entry.
#[derive(Clone, Copy, Debug)]
struct Trail {
    claims: usize,
    lapses: usize,
    settles: usize,
}

impl Trail {
    async fn read(store: &Store, id: EntryId) -> Result<Self, Failure> {
        let trail = store.evidence.trail(id, 0, BATCH).await?;
        let count = |event: &dyn Fn(&EvidenceEvent) -> bool| {
            trail.iter().filter(|record| event(&record.event)).count()
        };
        Ok(Self {
            claims: count(&|event| *event == EvidenceEvent::Moved(Cause::Claim)),
            lapses: count(&|event| {
                matches!(event, EvidenceEvent::Moved(Cause::Lapsed | Cause::LapsedAtCap))
            }),
            // A settle that is refused, because another one came first, leaves a record too.
            settles: count(&|event| {
                matches!(event, EvidenceEvent::Moved(Cause::Succeeded | Cause::AlreadyDone))
            }),
        })
    }
}

impl Told {
    /// What must not be.
    fn faults(&self, Trail { claims, lapses, settles }: Trail) -> impl Iterator<Item = String> {
        let Self { handled, settled, stale: _ } = self;
        let tokens: BTreeSet<ClaimToken> = handled.iter().copied().collect();
        let winners: BTreeSet<ClaimToken> = settled.iter().copied().collect();
        let last = tokens.last();
        [
            (settles != 1, format!("settled {settles} times")),
            (claims != lapses + 1, format!("{claims} claims, {lapses} of them ran out")),
            (tokens.len() != handled.len(), format!("two hold one claim: {handled:?}")),
            (handled.is_empty(), "settled and never handled".to_owned()),
            (handled.len() > claims, format!("handled {} times, {claims} claims", handled.len())),
            (winners.len() > 1, format!("settled by {winners:?}")),
            (
                winners.iter().any(|it| Some(it) != last),
                format!("claimed after {winners:?}: {last:?}"),
            ),
        ]
        .into_iter()
        .filter_map(|(wrong, what)| wrong.then_some(what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(handled: &[u64], settled: &[u64]) -> Told {
        let tokens = |tokens: &[u64]| tokens.iter().copied().map(ClaimToken).collect();
        Told { handled: tokens(handled), settled: tokens(settled), stale: 0 }
    }

    #[test]
    fn what_was_done_twice_is_noticed() {
        let smooth = Trail { claims: 1, lapses: 0, settles: 1 };
        let lapsed = Trail { claims: 2, lapses: 1, settles: 1 };
        assert_eq!(told(&[1], &[1]).faults(smooth).count(), 0);
        // Killed before it noted its settle; killed before it noted its handling.
        assert_eq!(told(&[1], &[]).faults(smooth).count(), 0);
        assert_eq!(told(&[3], &[3]).faults(lapsed).count(), 0);
        assert_eq!(told(&[1, 3], &[3]).faults(lapsed).count(), 0);
        // Two holders of one claim, two claims at once, two settles, a claim after the settle, nobody at all.
        assert!(told(&[1, 1], &[1]).faults(smooth).count() > 0);
        assert!(told(&[1, 2], &[2]).faults(smooth).count() > 0);
        assert!(told(&[1, 3], &[1, 3]).faults(lapsed).count() > 0);
        assert!(told(&[1, 3], &[1]).faults(lapsed).count() > 0);
        assert!(told(&[], &[]).faults(smooth).count() > 0);
        assert!(told(&[1], &[1]).faults(Trail { settles: 2, ..smooth }).count() > 0);
        assert!(told(&[1, 2], &[2]).faults(Trail { claims: 2, ..smooth }).count() > 0);
    }
}
