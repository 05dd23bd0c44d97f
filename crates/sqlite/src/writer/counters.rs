//! The counters by facet key and status, and of live entries by domain, changed in the transaction that changes the
//! entries.

use std::collections::HashMap;

use baldur_core::{Status, name::Domain};
use sqlx::SqliteConnection;

use crate::{error::StepError, sql::MultiRow};

/// How the counters change, added up over a batch.
#[derive(Debug, Default)]
pub(super) struct Deltas {
    facets: HashMap<(i64, Status), i64>,
    live: HashMap<Domain, i64>,
}

/// Where an entry is counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// The overflow key has entries of many domains, so this does not say which domain.
    pub(super) facet_key: i64,
    pub(super) domain: &'a Domain,
    pub(super) status: Status,
}

pub(super) static ADD: MultiRow = MultiRow::new(
    "INSERT INTO counters (facet_key, status, n) VALUES ",
    "(?, ?, ?)",
    " ON CONFLICT (facet_key, status) DO UPDATE SET n = n + excluded.n",
);

pub(super) static SUBTRACT: MultiRow = MultiRow::new(
    "WITH v(facet_key, status, n) AS (VALUES ",
    "(?, ?, ?)",
    ") UPDATE counters SET n = counters.n - v.n FROM v \
     WHERE counters.facet_key = v.facet_key AND counters.status = v.status",
);

pub(super) static ADD_LIVE: MultiRow = MultiRow::new(
    "INSERT INTO live_domains (ns, domain, n) VALUES ",
    "(?, ?, ?)",
    " ON CONFLICT (ns, domain) DO UPDATE SET n = n + excluded.n",
);

pub(super) static SUBTRACT_LIVE: MultiRow = MultiRow::new(
    "WITH v(ns, domain, n) AS (VALUES ",
    "(?, ?, ?)",
    ") UPDATE live_domains SET n = live_domains.n - v.n FROM v \
     WHERE live_domains.ns = v.ns AND live_domains.domain = v.domain",
);

/// Domains come and go; those without live entries leave no row behind.
pub(crate) const DROP_EMPTY: &str = "DELETE FROM live_domains \
     WHERE ns = ?1 AND domain IN (SELECT value FROM json_each(?2)) AND n = 0";

impl Deltas {
    /// An entry stands here now.
    pub(super) fn enters(&mut self, place: Place<'_>) {
        self.add(place, 1);
    }

    /// An entry stood here.
    pub(super) fn leaves(&mut self, place: Place<'_>) {
        self.add(place, -1);
    }

    fn add(&mut self, Place { facet_key, domain, status }: Place<'_>, delta: i64) {
        *self.facets.entry((facet_key, status)).or_default() += delta;
        if status.is_live() {
            *self.live.entry(domain.clone()).or_default() += delta;
        }
    }

    /// How the number of live entries in all changes.
    pub(super) fn live_in_all(&self) -> i64 {
        self.live.values().sum()
    }

    pub(super) async fn write(self, conn: &mut SqliteConnection, ns: i64) -> Result<(), StepError> {
        let (more, less) = split(self.facets);
        // An inserted row is checked before it turns into an update, so a negative one can't be inserted.
        for (statement, changes) in [(&ADD, more), (&SUBTRACT, less)] {
            statement
                .run(&mut *conn, &changes, |query, ((facet_key, status), n)| {
                    query.bind(*facet_key).bind(status.as_str()).bind(*n)
                })
                .await?;
        }
        let (more, less) = split(self.live);
        for (statement, changes) in [(&ADD_LIVE, &more), (&SUBTRACT_LIVE, &less)] {
            statement
                .run(&mut *conn, changes, |query, (domain, n)| {
                    query.bind(ns).bind(domain.as_str().to_owned()).bind(*n)
                })
                .await?;
        }
        if !less.is_empty() {
            let domains: Vec<&str> = less.iter().map(|(domain, _)| domain.as_str()).collect();
            // Lists of texts always serialise.
            let domains = serde_json::to_string(&domains).unwrap_or_default();
            sqlx::query(DROP_EMPTY).bind(ns).bind(domains).execute(conn).await?;
        }
        Ok(())
    }
}

type Changes<K> = Vec<(K, i64)>;

/// What grows, and what shrinks by how much.
fn split<K>(deltas: HashMap<K, i64>) -> (Changes<K>, Changes<K>) {
    let changed = deltas.into_iter().filter(|(_, delta)| *delta != 0);
    let (more, mut less): (Vec<_>, Vec<_>) = changed.partition(|(_, delta)| *delta > 0);
    for (_, delta) in &mut less {
        *delta = -*delta;
    }
    (more, less)
}
