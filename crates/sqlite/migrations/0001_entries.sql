-- Failed operations, their payloads, evidence and counters.
--
-- Times are integer microseconds since the Unix epoch, UTC. Statuses and other words are the names of the wire
-- forms. Ids are the 16 bytes of the UUID. `ns` stands first in every key, so that deployments that share
-- a file never meet.

CREATE TABLE namespaces (
    ns       INTEGER PRIMARY KEY,
    name     TEXT    NOT NULL UNIQUE,
    -- How many rows `unsealed` has, so that nobody needs to count them.
    unsealed INTEGER NOT NULL DEFAULT 0 CHECK (unsealed >= 0)
) STRICT;

-- Combinations that are counted apart. The one named `(other)` in all dimensions takes what is above the cap.
CREATE TABLE facet_keys (
    facet_key    INTEGER PRIMARY KEY,
    ns           INTEGER NOT NULL REFERENCES namespaces,
    domain       TEXT    NOT NULL,
    failure_type TEXT    NOT NULL,
    dependency   TEXT    NOT NULL,
    UNIQUE (ns, domain, failure_type, dependency)
) STRICT;

CREATE TABLE counters (
    facet_key INTEGER NOT NULL REFERENCES facet_keys,
    status    TEXT    NOT NULL,
    n         INTEGER NOT NULL CHECK (n >= 0),
    PRIMARY KEY (facet_key, status)
) STRICT, WITHOUT ROWID;

-- What lists show and what changes. Payloads live apart, so that a change of state does not rewrite them.
CREATE TABLE entries (
    -- AUTOINCREMENT: a number is never given twice, also after a purge, so evidence can't change its entry.
    seq                    INTEGER PRIMARY KEY AUTOINCREMENT,
    ns                     INTEGER NOT NULL REFERENCES namespaces,
    id                     BLOB    NOT NULL CHECK (length(id) = 16),
    created_at             INTEGER NOT NULL,
    facet_key              INTEGER NOT NULL REFERENCES facet_keys,
    domain                 TEXT    NOT NULL,
    failure_type           TEXT    NOT NULL,
    dependency             TEXT    NOT NULL,
    origin_service         TEXT    NOT NULL,
    entity_type            TEXT,
    entity_id              TEXT,
    user_id                TEXT,
    error_code             TEXT    NOT NULL,
    -- The beginning of the error message, for lists.
    error_preview          TEXT    NOT NULL,
    idempotency_key        TEXT    NOT NULL,
    dedup_key              TEXT,
    order_key              TEXT,
    -- NULL for none.
    labels                 TEXT,
    fingerprint            TEXT    NOT NULL,
    fingerprint_version    INTEGER NOT NULL,
    -- 1 for the one entry of its order key that may be claimed, and for every entry without an order key.
    order_head             INTEGER NOT NULL CHECK (order_head IN (0, 1)),
    status                 TEXT    NOT NULL,
    retry_count            INTEGER NOT NULL,
    max_retries            INTEGER NOT NULL,
    last_retry_at          INTEGER,
    next_attempt_at        INTEGER NOT NULL,
    claim_token            INTEGER NOT NULL,
    hold_holder            TEXT,
    hold_claimed_at        INTEGER,
    hold_expires_at        INTEGER,
    -- NULL for none.
    attempts               TEXT,
    force_redrive_count    INTEGER NOT NULL,
    previous_total_retries INTEGER NOT NULL,
    resolved_at            INTEGER,
    resolved_by_id         TEXT,
    resolution_type        TEXT,
    resolution_note        TEXT    NOT NULL,
    recommended_action     TEXT,
    not_replayable         TEXT,
    occurrences            INTEGER NOT NULL,
    last_occurred_at       INTEGER NOT NULL,
    evidence_count         INTEGER NOT NULL,
    updated_at             INTEGER NOT NULL,
    expires_at             INTEGER,
    CHECK ((status = 'replaying') = (hold_holder IS NOT NULL)),
    CHECK ((hold_holder IS NULL) = (hold_claimed_at IS NULL)),
    CHECK ((hold_holder IS NULL) = (hold_expires_at IS NULL))
) STRICT;

CREATE TABLE payloads (
    seq              INTEGER PRIMARY KEY REFERENCES entries,
    entity_refs      TEXT    NOT NULL,
    request_data     TEXT    NOT NULL,
    payload_version  INTEGER NOT NULL,
    snapshot_data    TEXT    NOT NULL,
    response_data    TEXT    NOT NULL,
    metadata         TEXT    NOT NULL,
    error_message    TEXT    NOT NULL,
    next_action_hint TEXT    NOT NULL,
    traceparent      TEXT,
    tracestate       TEXT
) STRICT;

-- Search by label. `entries.labels` is the truth; this is its index.
-- `seq` is no declared reference here and in merged_ids: SQLite would scan these tables for each entry that goes.
CREATE TABLE labels (
    ns         INTEGER NOT NULL,
    name       TEXT    NOT NULL,
    value      TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    id         BLOB    NOT NULL,
    seq        INTEGER NOT NULL,
    PRIMARY KEY (ns, name, value, created_at, id)
) STRICT, WITHOUT ROWID;

-- Ids of captures that merged, the entry that they merged into, and which occurrence they were.
CREATE TABLE merged_ids (
    ns         INTEGER NOT NULL,
    id         BLOB    NOT NULL CHECK (length(id) = 16),
    seq        INTEGER NOT NULL,
    occurrence INTEGER NOT NULL,
    PRIMARY KEY (ns, id)
) STRICT, WITHOUT ROWID;

-- Evidence is only ever added. `body` has the canonical bytes.
CREATE TABLE evidence (
    entry   INTEGER NOT NULL REFERENCES entries,
    counter INTEGER NOT NULL CHECK (counter > 0),
    body    TEXT    NOT NULL,
    PRIMARY KEY (entry, counter)
) STRICT, WITHOUT ROWID;

-- Evidence that has no place in the journal yet, in the order of writing.
CREATE TABLE unsealed (
    ns      INTEGER NOT NULL REFERENCES namespaces,
    pos     INTEGER NOT NULL,
    entry   INTEGER NOT NULL,
    counter INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (ns, pos)
) STRICT, WITHOUT ROWID;
CREATE INDEX unsealed_at ON unsealed (ns, at);

-- One index for each way to list, each ending with the position in lists.
CREATE UNIQUE INDEX entries_id ON entries (ns, id);
CREATE INDEX entries_position ON entries (ns, created_at, id);
CREATE INDEX entries_status ON entries (ns, status, created_at, id);
CREATE INDEX entries_facet ON entries (facet_key, status, created_at, id);
CREATE INDEX entries_origin ON entries (ns, origin_service, created_at, id);
CREATE INDEX entries_fingerprint ON entries (ns, fingerprint, created_at, id);
CREATE INDEX entries_idempotency ON entries (ns, idempotency_key, created_at, id);
CREATE INDEX entries_entity_id ON entries (ns, entity_id, created_at, id) WHERE entity_id IS NOT NULL;
CREATE INDEX entries_entity_type ON entries (ns, entity_type, created_at, id) WHERE entity_type IS NOT NULL;
CREATE INDEX entries_user ON entries (ns, user_id, created_at, id) WHERE user_id IS NOT NULL;
CREATE INDEX entries_order ON entries (ns, order_key, created_at, id) WHERE order_key IS NOT NULL;
CREATE INDEX entries_dedup ON entries (ns, dedup_key, created_at, id) WHERE dedup_key IS NOT NULL;

-- The live entries of a key: for merging, and for finding the one that comes first.
CREATE INDEX entries_dedup_live ON entries (ns, dedup_key, created_at, id)
    WHERE dedup_key IS NOT NULL AND status IN ('pending', 'replaying', 'reviewing', 'requires_review');
CREATE INDEX entries_order_live ON entries (ns, order_key, created_at, id)
    WHERE order_key IS NOT NULL AND status IN ('pending', 'replaying', 'reviewing', 'requires_review');
CREATE INDEX entries_order_replaying ON entries (ns, order_key, created_at, id)
    WHERE order_key IS NOT NULL AND status = 'replaying';
-- Unique: of one order key, one entry at most may be claimed.
CREATE UNIQUE INDEX entries_order_head ON entries (ns, order_key)
    WHERE order_key IS NOT NULL AND order_head = 1;

-- What may be claimed, in due order. Closed entries are not in here, so they don't slow claims down.
CREATE INDEX entries_due ON entries (ns, domain, next_attempt_at, created_at, id)
    WHERE status = 'pending' AND order_head = 1 AND not_replayable IS NULL;
CREATE INDEX entries_due_dependency ON entries (ns, domain, dependency, next_attempt_at, created_at, id)
    WHERE status = 'pending' AND order_head = 1 AND not_replayable IS NULL;
-- Running claims by the time that they run out.
CREATE INDEX entries_lease ON entries (ns, hold_expires_at, created_at, id) WHERE status = 'replaying';
-- Waiting entries by the time that they expire.
CREATE INDEX entries_expiry ON entries (ns, expires_at)
    WHERE expires_at IS NOT NULL AND status IN ('pending', 'requires_review');
