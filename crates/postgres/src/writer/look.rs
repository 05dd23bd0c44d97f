//! What captures need to know before they decide, read in one statement, after all locks were taken.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use baldur_core::{
    EntryId,
    name::{DedupKey, Domain},
};

use super::{capture::Known, session::Session};
use crate::{columns::Columns, error::StepError, sql::uuids};

/// The oldest live entry of each dedup key, if it is none of some.
macro_rules! live_with {
    ($keys:literal, $but:literal) => {
        concat!(
            "SELECT k.key, l.id FROM unnest(",
            $keys,
            "::text[]) k(key) CROSS JOIN LATERAL (SELECT s.id FROM baldur.states s \
             WHERE s.ns = $1 AND s.dedup_key = k.key \
             AND s.status IN ('pending', 'replaying', 'reviewing', 'requires_review')",
            $but,
            " ORDER BY s.created_at, s.id LIMIT 1) l"
        )
    };
}
pub(super) use live_with;

/// What is looked for by id is looked for in subqueries, `OFFSET 0`, here and elsewhere: a planner that takes a table for
/// small, as it was when the plan was made, would read all of the namespace and compare.
///
/// Ids `$2` that are there already, or were: of entries, and of captures that merged. The live entries of domains `$3` and
/// of the namespace, unless no domain is asked for: what was folded, and the deltas from there on. The targets of
/// dedup keys `$4`.
pub(crate) const LOOK: &str = concat!(
    "WITH base AS (SELECT n.live, n.folded_xid FROM baldur.namespaces n \
      WHERE n.ns = $1 AND cardinality($3::text[]) > 0), \
     d AS MATERIALIZED (SELECT c.domain, sum(c.n) AS n FROM baldur.counter_deltas c \
      WHERE c.ns = $1 AND c.xid >= (SELECT folded_xid FROM base) \
      AND c.status IN ('pending', 'replaying', 'reviewing', 'requires_review') GROUP BY c.domain) \
     SELECT e.id, e.id, 1::bigint, NULL::text FROM unnest($2::uuid[]) v(id) CROSS JOIN LATERAL \
      (SELECT x.id FROM baldur.entries x WHERE x.ns = $1 AND x.id = v.id OFFSET 0) e \
     UNION ALL SELECT g.id, g.id, 1, NULL FROM unnest($2::uuid[]) v(id) CROSS JOIN LATERAL \
      (SELECT x.id FROM baldur.gone x WHERE x.ns = $1 AND x.id = v.id OFFSET 0) g \
     UNION ALL SELECT m.id, m.entry, m.occurrence, NULL FROM unnest($2::uuid[]) v(id) \
      CROSS JOIN LATERAL (SELECT x.id, x.entry, x.occurrence FROM baldur.merged_ids x \
       WHERE x.ns = $1 AND x.id = v.id OFFSET 0) m \
     UNION ALL SELECT NULL, NULL, (b.live + coalesce((SELECT sum(n) FROM d), 0))::bigint, NULL \
      FROM base b \
     UNION ALL SELECT NULL, NULL, (coalesce(l.n, 0) + coalesce(d.n, 0))::bigint, v.domain \
      FROM unnest($3::text[]) v(domain) \
      LEFT JOIN baldur.live_domains l ON l.ns = $1 AND l.domain = v.domain \
      LEFT JOIN d ON d.domain = v.domain \
     UNION ALL SELECT NULL, t.id, NULL, t.key FROM (",
    live_with!("$4", ""),
    ") t"
);

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Ids that stand for something already.
    pub(super) known: HashMap<EntryId, Known>,
    /// Live entries of the domains.
    pub(super) live: BTreeMap<Domain, u64>,
    /// Live entries in all.
    pub(super) live_in_all: u64,
    /// The oldest live entry of each dedup key that has any. It is not locked.
    pub(super) targets: HashMap<DedupKey, EntryId>,
}

/// Looks them up.
pub(super) async fn look(
    session: &mut Session,
    ids: impl IntoIterator<Item = EntryId>,
    domains: &BTreeSet<&Domain>,
    keys: &BTreeSet<&DedupKey>,
) -> Result<Found, StepError> {
    let ns = session.ns;
    let rows = sqlx::query(LOOK)
        .bind(ns)
        .bind(uuids(ids))
        .bind(domains.iter().map(|domain| domain.as_str()).collect::<Vec<_>>())
        .bind(keys.iter().map(|key| key.as_str()).collect::<Vec<_>>())
        .fetch_all(session.conn())
        .await?;
    let mut found = Found::default();
    for row in &rows {
        let mut columns = Columns::of(row, "merged_ids");
        match (columns.id_opt()?, columns.id_opt()?) {
            (Some(asked), Some(id)) => {
                let occurrence = columns.unsigned("occurrence")?;
                found.known.insert(asked, Known { id, occurrence });
            }
            (None, Some(id)) => {
                let _count: Option<i64> = columns.get()?;
                found.targets.insert(columns.name("dedup_key", DedupKey::parse)?, id);
            }
            (_, None) => {
                let live = columns.unsigned("live")?;
                match columns.name_opt("domain", Domain::parse)? {
                    Some(domain) => {
                        found.live.insert(domain, live);
                    }
                    None => found.live_in_all = live,
                }
            }
        }
    }
    Ok(found)
}
