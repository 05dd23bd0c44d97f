//! The questions of a deep check.

/// Statuses of live entries.
pub(super) const LIVE: [&str; 4] = ["pending", "replaying", "reviewing", "requires_review"];

/// A question that counts what is wrong.
pub(super) struct Question {
    /// What was looked at.
    pub(super) checked: &'static str,
    /// What is wrong with each that it counts.
    pub(super) problem: &'static str,
    /// One row: how many, of namespace `$1` and of ids above `$2` up to `$3`.
    pub(super) sql: &'static str,
}

/// Rows of a table in the batch that have no row with the same key in another one.
macro_rules! without {
    ($table:literal, $other:literal) => {
        concat!(
            "SELECT count(*) FROM baldur.",
            $table,
            " x WHERE x.ns = $1 AND x.id > $2 AND x.id <= $3 AND NOT EXISTS \
             (SELECT 1 FROM baldur.",
            $other,
            " y WHERE y.ns = x.ns AND y.id = x.id OFFSET 0)"
        )
    };
}

pub(super) const QUESTIONS: [Question; 15] = [
    Question {
        checked: "states",
        problem: "entries have no state",
        sql: without!("entries", "states"),
    },
    Question {
        checked: "owners of states",
        problem: "states belong to no entry",
        sql: without!("states", "entries"),
    },
    Question {
        checked: "payloads",
        problem: "entries have no payload",
        sql: without!("entries", "payloads"),
    },
    Question {
        checked: "owners of payloads",
        problem: "payloads belong to no entry",
        sql: without!("payloads", "entries"),
    },
    Question {
        checked: "owners of attempts",
        problem: "attempts belong to no entry",
        sql: without!("attempts", "entries"),
    },
    Question {
        checked: "what states repeat",
        problem: "states don't repeat what their entries say",
        sql: "SELECT count(*) FROM baldur.states s JOIN baldur.entries e ON e.ns = s.ns AND e.id = s.id \
              WHERE s.ns = $1 AND s.id > $2 AND s.id <= $3 AND (s.created_at, s.facet_key, s.domain, \
              s.dependency, s.dedup_key, s.order_key, s.replayable) IS DISTINCT FROM (e.created_at, \
              e.facet_key, e.domain, e.dependency, e.dedup_key, e.order_key, e.not_replayable IS NULL)",
    },
    Question {
        checked: "evidence",
        problem: "entries miss evidence, or have more than they count",
        sql: "SELECT count(*) FROM baldur.states s CROSS JOIN LATERAL \
              (SELECT count(*) AS n, max(v.counter) AS last FROM baldur.evidence v \
               WHERE v.ns = s.ns AND v.id = s.id) v \
              WHERE s.ns = $1 AND s.id > $2 AND s.id <= $3 \
              AND (v.n <> s.evidence_count OR v.n = 0 OR v.last <> v.n)",
    },
    Question {
        checked: "owners of evidence",
        problem: "records of evidence belong to no entry",
        sql: "SELECT count(*) FROM baldur.evidence v WHERE v.ns = $1 AND v.id > $2 AND v.id <= $3 \
              AND NOT EXISTS (SELECT 1 FROM baldur.entries e WHERE e.ns = v.ns AND e.id = v.id OFFSET 0) \
              AND NOT EXISTS (SELECT 1 FROM baldur.gone g WHERE g.ns = v.ns AND g.id = v.id OFFSET 0)",
    },
    Question {
        checked: "facet keys",
        problem: "entries are counted under another combination than theirs",
        sql: "SELECT count(*) FROM baldur.entries e LEFT JOIN baldur.facet_keys f \
              ON f.facet_key = e.facet_key \
              WHERE e.ns = $1 AND e.id > $2 AND e.id <= $3 \
              AND (f.ns IS DISTINCT FROM e.ns OR (f.domain <> '(other)' AND \
              (f.domain, f.failure_type, f.dependency) <> (e.domain, e.failure_type, e.dependency)))",
    },
    Question {
        checked: "order heads",
        problem: "entries are wrongly marked, or not marked, as first of their order key",
        sql: "SELECT count(*) FROM baldur.states s WHERE s.ns = $1 AND s.id > $2 AND s.id <= $3 \
              AND s.order_head <> CASE WHEN s.order_key IS NULL THEN true \
              ELSE s.id IS NOT DISTINCT FROM coalesce( \
               (SELECT l.id FROM baldur.states l \
                WHERE l.ns = s.ns AND l.order_key = s.order_key AND l.status = 'replaying' \
                ORDER BY l.created_at, l.id LIMIT 1), \
               (SELECT l.id FROM baldur.states l \
                WHERE l.ns = s.ns AND l.order_key = s.order_key \
                AND l.status IN ('pending', 'replaying', 'reviewing', 'requires_review') \
                ORDER BY l.created_at, l.id LIMIT 1)) END",
    },
    Question {
        checked: LABEL_INDEX,
        problem: "labels are missing from their index",
        sql: "SELECT count(*) FROM baldur.entries e \
              CROSS JOIN LATERAL json_each_text(coalesce(e.labels, '{}')::json) j \
              WHERE e.ns = $1 AND e.id > $2 AND e.id <= $3 AND NOT EXISTS (SELECT 1 FROM baldur.labels l \
              WHERE l.ns = e.ns AND l.name = j.key AND l.value = j.value \
              AND l.created_at = e.created_at AND l.id = e.id OFFSET 0)",
    },
    Question {
        checked: "attempts",
        problem: "attempts are no list",
        sql: "SELECT count(*) FROM baldur.attempts a WHERE a.ns = $1 AND a.id > $2 AND a.id <= $3 \
              AND json_typeof(a.body::json) IS NULL",
    },
    Question {
        checked: "merged ids",
        problem: "merged captures point to no entry, or are entries themselves",
        sql: "SELECT count(*) FROM baldur.merged_ids m WHERE m.ns = $1 AND m.id > $2 AND m.id <= $3 \
              AND (EXISTS (SELECT 1 FROM baldur.entries e WHERE e.ns = m.ns AND e.id = m.id OFFSET 0) \
              OR NOT EXISTS (SELECT 1 FROM baldur.entries e WHERE e.ns = m.ns AND e.id = m.entry OFFSET 0) \
              AND NOT EXISTS (SELECT 1 FROM baldur.gone g WHERE g.ns = m.ns AND g.id = m.entry OFFSET 0))",
    },
    Question {
        checked: "entries that went",
        problem: "entries are here though they went",
        sql: "SELECT count(*) FROM baldur.gone g WHERE g.ns = $1 AND g.id > $2 AND g.id <= $3 \
              AND EXISTS (SELECT 1 FROM baldur.entries e WHERE e.ns = g.ns AND e.id = g.id OFFSET 0)",
    },
    Question {
        checked: "evidence of entries that went",
        problem: "entries that went miss evidence, or its last record does not say why",
        sql: "SELECT count(*) FROM baldur.gone g CROSS JOIN LATERAL \
              (SELECT count(*) AS n, max(v.counter) AS last FROM baldur.evidence v \
               WHERE v.ns = g.ns AND v.id = g.id) v \
              WHERE g.ns = $1 AND g.id > $2 AND g.id <= $3 AND (v.n = 0 OR v.last <> v.n OR NOT EXISTS \
              (SELECT 1 FROM baldur.evidence w WHERE w.ns = g.ns AND w.id = g.id AND w.counter = v.last \
               AND w.body::json ->> 'event' = g.cause OFFSET 0))",
    },
];

/// The name of the question that reads the labels of all entries.
pub(super) const LABEL_INDEX: &str = "label index";

/// Entries of a batch as counters have them.
pub(super) const RECOUNT: &str = "SELECT s.facet_key, s.status, s.domain, count(*) \
     FROM baldur.states s WHERE s.ns = $1 AND s.id > $2 AND s.id <= $3 \
     GROUP BY s.facet_key, s.status, s.domain";

/// What counters say, with what is not folded yet: by facet key and status; live ones by domain; live ones in all.
pub(super) const COUNTED: &str = "WITH d AS MATERIALIZED (SELECT x.facet_key, x.status, x.domain, x.n, \
      x.status IN ('pending', 'replaying', 'reviewing', 'requires_review') AS live \
      FROM baldur.namespaces m JOIN baldur.counter_deltas x ON x.ns = m.ns AND x.xid >= m.folded_xid \
      WHERE m.ns = $1 AND x.facet_key IS NOT NULL) \
     SELECT u.facet_key, u.status, NULL::text, sum(u.n)::bigint FROM ( \
      SELECT c.facet_key, c.status, c.n FROM baldur.facet_keys f \
      JOIN baldur.counters c ON c.facet_key = f.facet_key WHERE f.ns = $1 \
      UNION ALL SELECT d.facet_key, d.status, d.n FROM d) u GROUP BY u.facet_key, u.status \
     UNION ALL SELECT NULL, NULL, l.domain, sum(l.n)::bigint FROM ( \
      SELECT x.domain, x.n FROM baldur.live_domains x WHERE x.ns = $1 \
      UNION ALL SELECT d.domain, d.n FROM d WHERE d.live) l GROUP BY l.domain \
     UNION ALL SELECT NULL, NULL, NULL, m.live \
      + (SELECT coalesce(sum(d.n), 0)::bigint FROM d WHERE d.live) \
     FROM baldur.namespaces m WHERE m.ns = $1";

/// Of the unsealed records after `$2`, at most `$3`: how many don't exist, how many they are, and the last position.
pub(super) const UNSEALED_BATCH: &str = "SELECT count(*) FILTER (WHERE NOT EXISTS \
      (SELECT 1 FROM baldur.evidence v WHERE v.ns = $1 AND v.id = b.id AND v.counter = b.counter OFFSET 0)), \
     count(*), max(b.pos) FROM (SELECT u.pos, u.id, u.counter FROM baldur.unsealed u \
     WHERE u.ns = $1 AND u.pos > $2 ORDER BY u.pos LIMIT $3) b";

/// How many unsealed records are counted.
pub(super) const UNSEALED_COUNTED: &str = "SELECT n.unsealed \
     + (SELECT coalesce(sum(d.unsealed), 0)::bigint FROM baldur.counter_deltas d \
        WHERE d.ns = n.ns AND d.xid >= n.folded_xid) \
     FROM baldur.namespaces n WHERE n.ns = $1";

/// Of the labels after a position, at most `$6`: how many are not those of their entries, and the last position.
pub(super) const LABELS_BATCH: &str = "WITH b AS MATERIALIZED (SELECT l.* FROM baldur.labels l \
      WHERE l.ns = $1 AND (l.name, l.value, l.created_at, l.id) > ($2, $3, $4, $5) \
      ORDER BY l.name, l.value, l.created_at, l.id LIMIT $6) \
     SELECT (SELECT count(*) FROM b WHERE NOT EXISTS (SELECT 1 FROM baldur.entries e \
       WHERE e.ns = b.ns AND e.id = b.id AND e.created_at = b.created_at \
       AND e.labels::json ->> b.name = b.value OFFSET 0)), z.name, z.value, z.created_at, z.id \
     FROM (SELECT count(*) AS n FROM b) c LEFT JOIN LATERAL (SELECT b.* FROM b \
      ORDER BY b.name DESC, b.value DESC, b.created_at DESC, b.id DESC LIMIT 1) z ON true";
