//! Room for live entries: how many there are, and which may go to make room.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    mem,
};

use baldur_core::{
    EntryId, FailedOp, Status, Timestamp,
    name::Domain,
    port::{LimitScope, LiveCounts},
};

use sqlx::Row as _;

use super::{Session, claim::Candidate};
use crate::{columns::Columns, error::StepError, rows::op_columns, sql::limit};

type Position = (Timestamp, EntryId);

/// The same as the database has it, also of a row that can't be read otherwise.
type RawPosition = (i64, Vec<u8>);

/// The live entries of the namespace, and of some domains.
pub(crate) const LIVE: &str = "SELECT n.ns, NULL, n.live FROM namespaces n WHERE n.ns = ?2 \
     UNION ALL \
     SELECT l.ns, l.domain, l.n FROM json_each(?1) j CROSS JOIN live_domains l \
     ON l.ns = ?2 AND l.domain = j.value";

/// The oldest entries of a domain that may go.
pub(crate) const OLDEST_OF_DOMAIN: &str = concat!(
    "SELECT ",
    op_columns!(),
    ", e.facet_key, e.order_head FROM entries e INDEXED BY entries_evictable \
     CROSS JOIN payloads p ON p.seq = e.seq \
     WHERE e.ns = ?1 AND e.domain = ?2 AND e.status IN ('pending', 'requires_review') \
     AND (e.created_at, e.id) > (?3, ?4) ORDER BY e.created_at, e.id LIMIT ?5"
);

/// The oldest entries with a status.
pub(crate) const OLDEST_OF_STATUS: &str = concat!(
    "SELECT ",
    op_columns!(),
    ", e.facet_key, e.order_head FROM entries e INDEXED BY entries_status \
     CROSS JOIN payloads p ON p.seq = e.seq \
     WHERE e.ns = ?1 AND e.status = ?2 \
     AND (e.created_at, e.id) > (?3, ?4) ORDER BY e.created_at, e.id LIMIT ?5"
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

/// An entry that goes.
pub(super) enum Victim {
    Stored(Box<Candidate>),
    /// New in the same batch; its place among the new ones.
    New(usize),
}

/// What is known about room while a batch of captures is at work.
#[derive(Default)]
pub(super) struct RoomBook {
    live: HashMap<Domain, u64>,
    live_in_all: u64,
    pools: HashMap<Source, Pool>,
    /// New entries of the batch.
    new: BTreeMap<Position, (usize, Domain)>,
    /// Stored entries that went in this batch.
    gone: HashSet<EntryId>,
}

impl RoomBook {
    /// The book of a batch whose captures limit these domains.
    pub(super) async fn open(
        session: &mut Session,
        domains: BTreeSet<&Domain>,
    ) -> Result<Self, StepError> {
        let names: Vec<&str> = domains.iter().map(|domain| domain.as_str()).collect();
        // Lists of texts always serialise.
        let list = serde_json::to_string(&names).unwrap_or_default();
        let ns = session.ns;
        let rows = sqlx::query(LIVE).bind(list).bind(ns).fetch_all(session.conn()?).await?;
        let mut book = Self::default();
        for row in &rows {
            let mut columns = Columns::of(row, "live_domains");
            let _ns: i64 = columns.get()?;
            let domain = columns.name_opt("domain", Domain::parse)?;
            let live = columns.unsigned("n")?;
            match domain {
                Some(domain) => {
                    book.live.insert(domain, live);
                }
                None => book.live_in_all = live,
            }
        }
        Ok(book)
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

    /// Whether a stored entry went in this batch.
    pub(super) fn is_gone(&self, id: EntryId) -> bool {
        self.gone.contains(&id)
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

/// Some entries that may go. One that can't be read is left where it is.
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
    let (ns, namespace) = (session.ns, session.namespace().clone());
    let (sql, of) = match source {
        Source::Domain(domain) => (OLDEST_OF_DOMAIN, domain.as_str().to_owned()),
        Source::Status(status) => (OLDEST_OF_STATUS, status.as_str().to_owned()),
    };
    let (created_at, id) = after.unwrap_or_else(|| (i64::MIN, vec![0; 16]));
    let rows = sqlx::query(sql)
        .bind(ns)
        .bind(of)
        .bind(created_at)
        .bind(id)
        .bind(limit(most))
        .fetch_all(session.conn()?)
        .await?;
    let mut page =
        Page { candidates: Vec::with_capacity(rows.len()), rows: rows.len(), last: None };
    for row in &rows {
        match Candidate::read(row, &namespace) {
            Ok(found) => page.candidates.push(found),
            // No capture may fail for what is wrong with another entry.
            Err(StepError::Row(error)) => tracing::error!(%error, "sqlite.entry_unreadable"),
            Err(error) => return Err(error),
        }
    }
    if let Some(last) = rows.last() {
        page.last = Some((last.try_get("created_at")?, last.try_get("id")?));
    }
    Ok(page)
}
