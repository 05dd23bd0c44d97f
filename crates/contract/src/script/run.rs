//! Does a step on a store and returns the answers as text.

use std::time::Duration;

use baldur_core::{
    ClaimToken, Clock, EntryId, Filter,
    command::{
        Act, Action, ClaimBatch, ClaimRef, ClaimSelect, ClaimTerms, Extend, Lapse, Settle,
        SettleOutcome,
    },
    port::ExportedEntry,
};

use super::{Deed, Ending, Shown, Step, Terms, Text, capture, coordinate, id_of, import, read};
use crate::{
    answer,
    build::{evidence, parsed},
    case::Failure,
    store::StoreUnderTest,
};

/// A step that two stores can be asked to do: what depends on what is there was looked up in one of them.
pub(crate) struct Resolved<'a> {
    step: &'a Step,
    /// The token that each of the step's claims shows.
    tokens: Vec<ClaimToken>,
    /// The version that a save of a breaker expects.
    version: u64,
    /// What is imported.
    exported: Vec<ExportedEntry>,
    /// What is listed and counted.
    filter: Filter,
}

impl Step {
    /// Looks up in the reference what the step shows.
    pub(crate) async fn resolved(
        &self,
        reference: &StoreUnderTest,
    ) -> Result<Resolved<'_>, Failure> {
        let mut resolved = Resolved {
            step: self,
            tokens: Vec::new(),
            version: 0,
            exported: Vec::new(),
            filter: Filter::default(),
        };
        for (slot, shown) in self.claims() {
            let current = reference.find(id_of(slot)).await?.map(|op| op.state.claim_token);
            resolved.tokens.push(ClaimToken(shown.of(current.unwrap_or_default().0)));
        }
        if let Self::SaveBreaker(saved) = self {
            let current = coordinate::version(reference, &saved.name).await?;
            resolved.version = saved.version.of(current);
        }
        if let Self::Import(moved) = self {
            resolved.exported = import::exported(reference, moved).await?;
        }
        if let Self::List { wanted, .. } | Self::Count { wanted, .. } = self {
            resolved.filter = wanted.filter();
        }
        if let Self::Alike { slot, by, .. } = self
            && let Some(op) = reference.find(id_of(*slot)).await?
        {
            resolved.filter = read::alike(&op, by);
        }
        Ok(resolved)
    }

    /// The claims that the step names by their token.
    fn claims(&self) -> Vec<(u8, Shown)> {
        if let Self::Settle(settles) = self {
            return settles.iter().map(|(slot, shown, ..)| (*slot, *shown)).collect();
        }
        if let Self::Extend { slots, .. } = self { slots.clone() } else { Vec::new() }
    }
}

impl Resolved<'_> {
    /// Does the step and returns the answer as text.
    pub(crate) async fn run(&self, store: &StoreUnderTest) -> Result<Vec<String>, Failure> {
        match self.step {
            Step::Capture(batch) => capture::capture(store, batch).await,
            Step::ClaimDue { domains, dependency, limit, terms } => {
                let select = ClaimSelect::Due {
                    domains: domains.iter().map(|domain| parsed(domain)).collect(),
                    dependency: dependency.as_ref().map(Text::parsed),
                    limit: *limit,
                };
                claim(store, select, terms).await
            }
            Step::ClaimIds { slots, terms } => {
                claim(store, ClaimSelect::Ids(ids(slots)), terms).await
            }
            Step::Settle(settles) => {
                let settles = settles.iter().zip(&self.tokens);
                let settles = settles.map(|((slot, _, ending, trigger), token)| Settle {
                    id: id_of(*slot),
                    token: *token,
                    outcome: ending.outcome(),
                    trigger: *trigger,
                    evidence: evidence(&store.clock),
                });
                let answers = store.claims.settle_batch(settles.collect()).await;
                answers.into_iter().map(answer::claim_result).collect()
            }
            Step::Extend { slots, lease } => {
                let claims = slots.iter().zip(&self.tokens);
                let claims =
                    claims.map(|((slot, _), token)| ClaimRef { id: id_of(*slot), token: *token });
                let lease = Duration::from_secs(*lease);
                let extend = Extend { claims: claims.collect(), lease };
                let answers = store.claims.extend(extend).await;
                answers.into_iter().map(answer::claim_result).collect()
            }
            Step::Lapse { limit, retry_in } => {
                let retry_in = Duration::from_secs(*retry_in);
                let lapse = Lapse { limit: *limit, retry_in, evidence: evidence(&store.clock) };
                Ok(vec![answer::claim_result(store.claims.lapse(lapse).await)?])
            }
            Step::Act(acts) => act(store, acts).await,
            Step::Import(_) => import::import(store, &self.exported).await,
            Step::Advance(by) => {
                store.clock.advance(Duration::from_secs(*by));
                Ok(Vec::new())
            }
            Step::JumpBack(by) => {
                store.clock.jump_back(Duration::from_secs(*by));
                Ok(Vec::new())
            }
            Step::SaveBreaker(saved) => coordinate::save(store, saved, self.version).await,
            Step::LoadBreakers(names) => coordinate::load(store, names).await,
            Step::ListBreakers { after, limit } => {
                coordinate::list(store, after.as_ref(), *limit).await
            }
            Step::Take(taken) => coordinate::take(store, taken).await,
            Step::Find(_)
            | Step::Trail { .. }
            | Step::List { .. }
            | Step::Count { .. }
            | Step::Alike { .. }
            | Step::Facets(_)
            | Step::Unsealed(_) => self.read(store).await,
        }
    }

    async fn read(&self, store: &StoreUnderTest) -> Result<Vec<String>, Failure> {
        match self.step {
            Step::Find(slots) => {
                let found = store.reader.find(ids(slots)).await?;
                Ok(found.iter().map(|op| answer::found(op.as_ref())).collect())
            }
            Step::Trail { slot, after, limit } => {
                let trail = store.evidence.trail(id_of(*slot), *after, *limit).await?;
                Ok(answer::records(&trail))
            }
            Step::List { order, page, after, .. } => {
                read::list(store, &self.filter, *order, *page, *after).await
            }
            Step::Count { cap, .. } => {
                let count = store.reader.count(self.filter.clone(), *cap).await?;
                Ok(vec![format!("{count:?}")])
            }
            Step::Alike { order, page, cap, .. } => {
                let mut answers = read::list(store, &self.filter, *order, *page, None).await?;
                let count = store.reader.count(self.filter.clone(), *cap).await?;
                answers.push(format!("{count:?}"));
                Ok(answers)
            }
            Step::Facets(wanted) => {
                Ok(vec![format!("{:?}", store.reader.facets(wanted.scope()).await?)])
            }
            Step::Unsealed(limit) => {
                let unsealed = store.evidence.unsealed(*limit).await?;
                let mut answers = answer::some_unsealed(&unsealed);
                answers.push(format!("{:?}", store.evidence.backlog().await?));
                Ok(answers)
            }
            Step::Capture(_)
            | Step::ClaimDue { .. }
            | Step::ClaimIds { .. }
            | Step::Settle(_)
            | Step::Extend { .. }
            | Step::Lapse { .. }
            | Step::Act(_)
            | Step::Import(_)
            | Step::Advance(_)
            | Step::JumpBack(_)
            | Step::LoadBreakers(_)
            | Step::SaveBreaker(_)
            | Step::ListBreakers { .. }
            | Step::Take(_) => Err(Failure::new("not a step that reads")),
        }
    }
}

fn ids(slots: &[u8]) -> Vec<EntryId> {
    slots.iter().map(|slot| id_of(*slot)).collect()
}

async fn claim(
    store: &StoreUnderTest,
    select: ClaimSelect,
    terms: &Terms,
) -> Result<Vec<String>, Failure> {
    let Terms { holder, lease, force, unchanged_for } = terms;
    let since = unchanged_for.map(Duration::from_secs);
    let terms = ClaimTerms {
        holder: holder.parsed(),
        lease: Duration::from_secs(*lease),
        force: *force,
        unchanged_since: since.map(|since| store.clock.now().saturating_sub(since)),
        evidence: evidence(&store.clock),
    };
    let outcome = match store.claims.claim_batch(ClaimBatch { select, terms }).await {
        Ok(outcome) => outcome,
        Err(error) => return answer::claim_error(&error).map(|refused| vec![refused]),
    };
    let mut answers: Vec<_> =
        outcome.claimed.iter().map(|claimed| answer::entry(&claimed.op)).collect();
    for (id, error) in &outcome.refused {
        answers.push(format!("{id}: {}", answer::claim_error(error)?));
    }
    Ok(answers)
}

impl Ending {
    fn outcome(&self) -> SettleOutcome {
        let seconds = |wait: &u64| Duration::from_secs(*wait);
        match self {
            Self::Succeeded(note) => SettleOutcome::Succeeded { note: note.whole() },
            Self::AlreadyDone(note) => SettleOutcome::AlreadyDone { note: note.whole() },
            Self::Failed(error, wait) => {
                SettleOutcome::Failed { error: error.whole(), retry_in: seconds(wait) }
            }
            Self::Permanent(error) => SettleOutcome::Permanent { error: error.whole() },
            Self::Deferred(reason, wait) => {
                SettleOutcome::Deferred { reason: reason.whole(), delay: seconds(wait) }
            }
            Self::Released => SettleOutcome::Released,
        }
    }
}

impl Deed {
    fn action(&self) -> Action {
        match self {
            Self::Resolve(note) => Action::Resolve { note: note.whole() },
            Self::Reject(note) => Action::Reject { note: note.whole() },
            Self::Review => Action::Review,
            Self::Back => Action::Back,
            Self::Escalate => Action::Escalate,
            Self::Expire => Action::Expire,
            Self::Reopen => Action::Reopen,
        }
    }
}

async fn act(store: &StoreUnderTest, acts: &[(u8, Deed)]) -> Result<Vec<String>, Failure> {
    let acts = acts.iter().map(|(slot, deed)| Act {
        id: id_of(*slot),
        action: deed.action(),
        evidence: evidence(&store.clock),
    });
    let answers = store.claims.apply(acts.collect()).await;
    answers.into_iter().map(answer::claim_result).collect()
}
