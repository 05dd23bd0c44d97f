//! Room for live entries: how many there are, and which may go to make room.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    mem,
};

use baldur_core::{
    EntryId, FailedOp, Status, Timestamp,
    name::Domain,
    port::{LimitScope, LiveCounts},
    query::FACET_OVERFLOW,
};
use sqlx::{Row as _, types::Uuid};

use super::{
    Session,
    candidate::{self, Candidate},
    effects::Victim,
    limits::Scope,
    locks::lock_number,
};
use crate::{
    error::StepError,
    sql::{limit, uuids},
};

type Position = (Timestamp, EntryId);

/// The same as the database has it, also of a row that can't be read otherwise.
type RawPosition = (i64, Uuid);

/// The oldest entries of a domain that may go: of each of its combinations, and of the overflow's.
pub(crate) const OLDEST_OF_DOMAIN: &str = "SELECT o.created_at, o.id FROM \
     (SELECT f.facet_key FROM baldur.facet_keys f WHERE f.ns = $1 AND f.domain IN ($2, $6)) f \
     CROSS JOIN (VALUES ('pending'), ('requires_review')) w(status) \
     CROSS JOIN LATERAL (SELECT s.created_at, s.id FROM baldur.states s \
      WHERE s.facet_key = f.facet_key AND s.status = w.status AND s.domain = $2 \
      AND (s.created_at, s.id) > ($3, $4) ORDER BY s.created_at, s.id LIMIT $5) o \
     ORDER BY o.created_at, o.id LIMIT $5";

/// The oldest entries with a status.
pub(crate) const OLDEST_OF_STATUS: &str = "SELECT s.created_at, s.id FROM baldur.states s \
     WHERE s.ns = $1 AND s.status = $2 AND (s.created_at, s.id) > ($3, $4) \
     ORDER BY s.created_at, s.id LIMIT $5";

/// Those of these entries that may go and that nobody else works on, locked with their order keys. It waits for
/// nobody: who waits here could be waited for.
pub(crate) const HOLD: &str = concat!(
    "SELECT s.id FROM baldur.states s WHERE s.ns = $1 AND s.id = ANY($2) \
     AND s.status IN ('pending', 'requires_review') AND (s.order_key IS NULL OR \
     pg_try_advisory_xact_lock(",
    lock_number!("'order'", "s.order_key"),
    ")) FOR NO KEY UPDATE SKIP LOCKED"
);

/// How many entries that may go are read at once at most: they come with their payloads.
const MOST_READ: usize = 32;

/// Where entries that may go are looked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Source {
    Domain(Domain),
    /// Of all domains; one of the statuses that may go.
    Status(Status),
}

/// Stored entries that may go, oldest first, read as they are needed.
#[derive(Default)]
struct Pool {
    waiting: VecDeque<Candidate>,
    after: Option<RawPosition>,
    exhausted: bool,
}

/// What is known about room while a batch of captures is at work.
#[derive(Default)]
pub(super) struct RoomBook {
    live: BTreeMap<Domain, u64>,
    live_in_all: u64,
    pools: HashMap<Source, Pool>,
    /// New entries of the batch.
    new: BTreeMap<Position, (usize, Domain)>,
    /// Stored entries that went in this batch.
    gone: HashSet<EntryId>,
}

impl RoomBook {
    /// The book of a batch, whose scopes are locked.
    pub(super) fn of(live: BTreeMap<Domain, u64>, live_in_all: u64) -> Self {
        Self { live, live_in_all, ..Self::default() }
    }

    /// How many live entries there are in a scope.
    pub(super) fn live_in(&self, scope: &Scope) -> u64 {
        match scope {
            Scope::Domain(domain) => self.live.get(domain).copied().unwrap_or_default(),
            Scope::All => self.live_in_all,
        }
    }

    /// How many live entries there are.
    pub(super) fn live(&self, domain: &Domain) -> LiveCounts {
        let in_domain = self.live.get(domain).copied().unwrap_or_default();
        LiveCounts { in_domain, in_all: self.live_in_all }
    }

    /// A new entry of the batch, which is live.
    pub(super) fn enters(&mut self, op: &FailedOp, index: usize) {
        *self.live.entry(op.domain.clone()).or_default() += 1;
        self.live_in_all += 1;
        if !op.state.status.is_protected() {
            self.new.insert(op.position(), (index, op.domain.clone()));
        }
    }

    /// Takes out the oldest entry that may go. `wanted` is how many more the batch may need.
    pub(super) async fn take_oldest(
        &mut self,
        session: &mut Session,
        scope: LimitScope,
        domain: &Domain,
        wanted: usize,
    ) -> Result<Option<Victim>, StepError> {
        let sources = match scope {
            LimitScope::Domain => vec![Source::Domain(domain.clone())],
            LimitScope::All => {
                vec![Source::Status(Status::Pending), Source::Status(Status::RequiresReview)]
            }
        };
        let mut oldest: Option<(Position, Source)> = None;
        for source in sources {
            let pool = self.pools.entry(source.clone()).or_default();
            if let Some(first) = pool.first(session, &source, &self.gone, wanted).await?
                && oldest.as_ref().is_none_or(|(position, _)| first < *position)
            {
                oldest = Some((first, source));
            }
        }
        let mut new = self.new.iter().filter(|(_, (_, of))| match scope {
            LimitScope::Domain => of == domain,
            LimitScope::All => true,
        });
        let new = new.next().map(|(position, _)| *position);
        let victim = match (oldest, new) {
            (stored, Some(new)) if stored.as_ref().is_none_or(|(stored, _)| new < *stored) => {
                self.new.remove(&new).map(|(index, domain)| (Victim::New(index), domain))
            }
            (Some((_, source)), _) => {
                self.pools.get_mut(&source).and_then(Pool::take).map(|found| {
                    let domain = found.op.domain.clone();
                    self.gone.insert(found.op.id);
                    (Victim::Stored(Box::new(found)), domain)
                })
            }
            (None, _) => None,
        };
        Ok(victim.map(|(victim, domain)| {
            self.leaves(&domain);
            victim
        }))
    }

    fn leaves(&mut self, domain: &Domain) {
        if let Some(live) = self.live.get_mut(domain) {
            *live = live.saturating_sub(1);
        }
        self.live_in_all = self.live_in_all.saturating_sub(1);
    }

    /// Stored entries that went in this batch.
    pub(super) fn gone(&self) -> Vec<Uuid> {
        uuids(self.gone.iter().copied())
    }
}

impl Pool {
    /// The position of the first entry that is still there.
    async fn first(
        &mut self,
        session: &mut Session,
        source: &Source,
        gone: &HashSet<EntryId>,
        wanted: usize,
    ) -> Result<Option<Position>, StepError> {
        loop {
            // It may have gone through another source.
            while self.waiting.pop_front_if(|found| gone.contains(&found.op.id)).is_some() {}
            if let Some(first) = self.waiting.front() {
                return Ok(Some(first.op.position()));
            }
            if mem::replace(&mut self.exhausted, true) {
                return Ok(None);
            }
            let most = wanted.clamp(1, MOST_READ);
            let page = read(session, source, self.after.take(), most).await?;
            self.waiting = page.candidates.into();
            self.after = page.last;
            self.exhausted = page.rows < most;
        }
    }

    fn take(&mut self) -> Option<Candidate> {
        self.waiting.pop_front()
    }
}

/// Some entries that may go, locked. One that somebody works on, or that can't be read, is left where it is.
struct Page {
    candidates: Vec<Candidate>,
    /// How many were looked at.
    rows: usize,
    /// Where the last of these stands.
    last: Option<RawPosition>,
}

async fn read(
    session: &mut Session,
    source: &Source,
    after: Option<RawPosition>,
    most: usize,
) -> Result<Page, StepError> {
    let ns = session.ns;
    let (created_at, id) = after.unwrap_or_else(|| (i64::MIN, Uuid::nil()));
    let (sql, of, other) = match source {
        Source::Domain(domain) => (OLDEST_OF_DOMAIN, domain.as_str(), Some(FACET_OVERFLOW)),
        Source::Status(status) => (OLDEST_OF_STATUS, status.as_str(), None),
    };
    let mut query = sqlx::query(sql).bind(ns).bind(of).bind(created_at).bind(id).bind(limit(most));
    if let Some(other) = other {
        query = query.bind(other);
    }
    let found: Vec<RawPosition> = query
        .fetch_all(session.conn())
        .await?
        .iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect::<Result<_, sqlx::Error>>()?;
    let ids: Vec<Uuid> = found.iter().map(|(_, id)| *id).collect();
    let mut page = Page { candidates: Vec::new(), rows: found.len(), last: found.last().copied() };
    if !ids.is_empty() {
        let held: Vec<Uuid> =
            sqlx::query_scalar(HOLD).bind(ns).bind(ids).fetch_all(session.conn()).await?;
        page.candidates = load(session, &held).await?;
    }
    Ok(page)
}

/// Those of these entries that can be read, oldest first.
async fn load(session: &mut Session, ids: &[Uuid]) -> Result<Vec<Candidate>, StepError> {
    let (ns, namespace) = (session.ns, session.namespace().clone());
    let rows = sqlx::query(candidate::BY_ID).bind(ns).bind(ids).fetch_all(session.conn()).await?;
    let mut candidates = Vec::with_capacity(rows.len());
    for row in &rows {
        match Candidate::read(row, &namespace) {
            Ok(found) => candidates.push(found),
            // No capture may fail for what is wrong with another entry.
            Err(StepError::Row(error)) => tracing::error!(%error, "postgres.entry_unreadable"),
            Err(error) => return Err(error),
        }
    }
    candidates.sort_by_key(|candidate| candidate.op.position());
    Ok(candidates)
}
