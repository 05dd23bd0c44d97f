-- Failed operations, their states, payloads, evidence and counters, in a schema of their own.
--
-- Times are integer microseconds since the Unix epoch, UTC. Statuses and other words are the names of the wire
-- forms. `ns` stands first in every key, so that deployments that share a database never meet. Texts compare by
-- their bytes (COLLATE "C"), as the program does.

CREATE TABLE baldur.namespaces (
    ns         integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text COLLATE "C" NOT NULL UNIQUE,
    -- Deltas of transactions before this one are folded into the counters, and gone.
    folded_xid xid8   NOT NULL DEFAULT '0',
    -- Live entries and rows of `unsealed`, but for what the deltas say.
    live       bigint NOT NULL DEFAULT 0,
    unsealed   bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- Combinations that are counted apart. The one named `(other)` in all dimensions takes what is above the cap.
CREATE TABLE baldur.facet_keys (
    facet_key    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ns           integer NOT NULL REFERENCES baldur.namespaces,
    domain       text COLLATE "C" NOT NULL,
    failure_type text COLLATE "C" NOT NULL,
    dependency   text COLLATE "C" NOT NULL,
    UNIQUE (ns, domain, failure_type, dependency)
);

-- Counters, but for what the deltas say. Only the fold changes them.
CREATE TABLE baldur.counters (
    facet_key bigint NOT NULL REFERENCES baldur.facet_keys,
    status    text COLLATE "C" NOT NULL,
    n         bigint NOT NULL,
    PRIMARY KEY (facet_key, status)
) WITH (fillfactor = 50);

CREATE TABLE baldur.live_domains (
    ns     integer NOT NULL REFERENCES baldur.namespaces,
    domain text COLLATE "C" NOT NULL,
    n      bigint NOT NULL,
    PRIMARY KEY (ns, domain)
) WITH (fillfactor = 50);

-- What transactions added to the counters and took from them. Rows are only added, so that writers never wait for one
-- another; the fold moves those of finished transactions into the counters. A count is the counter and the deltas
-- from `namespaces.folded_xid` on, read in one statement.
CREATE TABLE baldur.counter_deltas (
    ns        integer NOT NULL,
    xid       xid8    NOT NULL DEFAULT pg_current_xact_id(),
    -- The combination, the status and the domain that it counts for; NULL where only evidence is counted.
    facet_key bigint,
    status    text COLLATE "C",
    domain    text COLLATE "C",
    n         bigint  NOT NULL,
    -- Rows of `unsealed`.
    unsealed  bigint  NOT NULL
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);
CREATE INDEX counter_deltas_xid ON baldur.counter_deltas (ns, xid);

-- What is known of an entry and stays: what lists show, and what they search by.
--
-- No foreign keys here, nor in what follows: each row that is added would lock the namespace's row, which all writers
-- share and the fold changes.
CREATE TABLE baldur.entries (
    ns                  integer NOT NULL,
    id                  uuid    NOT NULL,
    created_at          bigint  NOT NULL,
    facet_key           bigint  NOT NULL,
    domain              text COLLATE "C" NOT NULL,
    failure_type        text COLLATE "C" NOT NULL,
    dependency          text COLLATE "C" NOT NULL,
    origin_service      text COLLATE "C" NOT NULL,
    entity_type         text COLLATE "C",
    entity_id           text COLLATE "C",
    user_id             text COLLATE "C",
    error_code          text COLLATE "C" NOT NULL,
    -- The beginning of the error message, for lists.
    error_preview       text COLLATE "C" NOT NULL,
    idempotency_key     text COLLATE "C" NOT NULL,
    dedup_key           text COLLATE "C",
    order_key           text COLLATE "C",
    -- NULL for none.
    labels              text COLLATE "C",
    fingerprint         text COLLATE "C" NOT NULL,
    fingerprint_version integer NOT NULL,
    max_retries         integer NOT NULL,
    not_replayable      text COLLATE "C"
);

-- Where an entry stands. Claims and settles write a new version of this row and of nothing else that is wide; the
-- columns in front repeat the entry's, for the indexes.
CREATE TABLE baldur.states (
    ns                     integer NOT NULL,
    id                     uuid    NOT NULL,
    created_at             bigint  NOT NULL,
    facet_key              bigint  NOT NULL,
    domain                 text COLLATE "C" NOT NULL,
    dependency             text COLLATE "C" NOT NULL,
    dedup_key              text COLLATE "C",
    order_key              text COLLATE "C",
    replayable             boolean NOT NULL,
    -- Of an order key, the one entry that may be claimed; and every entry without an order key.
    order_head             boolean NOT NULL,
    status                 text COLLATE "C" NOT NULL,
    retry_count            bigint  NOT NULL,
    last_retry_at          bigint,
    next_attempt_at        bigint  NOT NULL,
    claim_token            bigint  NOT NULL,
    hold_holder            text COLLATE "C",
    hold_claimed_at        bigint,
    -- In no index: a heartbeat changes it, and rewrites no index (a heap-only tuple).
    hold_expires_at        bigint,
    force_redrive_count    bigint  NOT NULL,
    previous_total_retries bigint  NOT NULL,
    resolved_at            bigint,
    resolved_by_id         text COLLATE "C",
    resolution_type        text COLLATE "C",
    resolution_note        text COLLATE "C" NOT NULL,
    recommended_action     text COLLATE "C",
    occurrences            bigint  NOT NULL,
    last_occurred_at       bigint  NOT NULL,
    evidence_count         bigint  NOT NULL,
    updated_at             bigint  NOT NULL,
    expires_at             bigint,
    CHECK ((status = 'replaying') = (hold_holder IS NOT NULL)),
    CHECK ((hold_holder IS NULL) = (hold_claimed_at IS NULL)),
    CHECK ((hold_holder IS NULL) = (hold_expires_at IS NULL))
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);

-- The last attempts of those entries that had any.
CREATE TABLE baldur.attempts (
    ns   integer NOT NULL,
    id   uuid    NOT NULL,
    body text COLLATE "C" NOT NULL,
    PRIMARY KEY (ns, id)
) WITH (fillfactor = 80);

CREATE TABLE baldur.payloads (
    ns               integer NOT NULL,
    id               uuid    NOT NULL,
    entity_refs      text COLLATE "C" NOT NULL,
    request_data     text COLLATE "C" NOT NULL,
    payload_version  bigint  NOT NULL,
    snapshot_data    text COLLATE "C" NOT NULL,
    response_data    text COLLATE "C" NOT NULL,
    metadata         text COLLATE "C" NOT NULL,
    error_message    text COLLATE "C" NOT NULL,
    next_action_hint text COLLATE "C" NOT NULL,
    traceparent      text COLLATE "C",
    tracestate       text COLLATE "C",
    PRIMARY KEY (ns, id)
);

-- Search by label. `entries.labels` is the truth; this is its index.
CREATE TABLE baldur.labels (
    ns         integer NOT NULL,
    name       text COLLATE "C" NOT NULL,
    value      text COLLATE "C" NOT NULL,
    created_at bigint  NOT NULL,
    id         uuid    NOT NULL,
    PRIMARY KEY (ns, name, value, created_at, id)
);

-- Ids of captures that merged, the entry that they merged into, and which occurrence they were.
CREATE TABLE baldur.merged_ids (
    ns         integer NOT NULL,
    id         uuid    NOT NULL,
    entry      uuid    NOT NULL,
    occurrence bigint  NOT NULL,
    PRIMARY KEY (ns, id)
);

-- Entries that are no longer there.
CREATE TABLE baldur.gone (
    ns           integer NOT NULL,
    id           uuid    NOT NULL,
    -- Why: `evicted`.
    cause        text COLLATE "C" NOT NULL,
    domain       text COLLATE "C" NOT NULL,
    failure_type text COLLATE "C" NOT NULL,
    dependency   text COLLATE "C" NOT NULL,
    status       text COLLATE "C" NOT NULL,
    created_at   bigint  NOT NULL,
    occurrences  bigint  NOT NULL,
    gone_at      bigint  NOT NULL,
    PRIMARY KEY (ns, id)
);

-- Evidence is only ever added, and outlives its entry. `body` has the canonical bytes.
CREATE TABLE baldur.evidence (
    ns      integer NOT NULL,
    id      uuid    NOT NULL,
    counter bigint  NOT NULL CHECK (counter > 0),
    body    text COLLATE "C" NOT NULL,
    PRIMARY KEY (ns, id, counter)
);

-- Evidence that has no place in the journal yet, about in the order of writing; of one entry, in counter order.
CREATE TABLE baldur.unsealed (
    ns      integer NOT NULL,
    pos     bigint  GENERATED ALWAYS AS IDENTITY,
    id      uuid    NOT NULL,
    counter bigint  NOT NULL,
    at      bigint  NOT NULL,
    PRIMARY KEY (ns, pos)
);
CREATE INDEX unsealed_at ON baldur.unsealed (ns, at);

-- One index for each way to list, each ending with the position in lists. None of these columns changes when an entry
-- is claimed or settled.
CREATE INDEX entries_position ON baldur.entries (ns, created_at, id);
CREATE INDEX entries_origin ON baldur.entries (ns, origin_service, created_at, id);
CREATE INDEX entries_fingerprint ON baldur.entries (ns, fingerprint, created_at, id);
CREATE INDEX entries_idempotency ON baldur.entries (ns, idempotency_key, created_at, id);
CREATE INDEX entries_entity_id ON baldur.entries (ns, entity_id, created_at, id) WHERE entity_id IS NOT NULL;
CREATE INDEX entries_entity_type ON baldur.entries (ns, entity_type, created_at, id)
    WHERE entity_type IS NOT NULL;
CREATE INDEX entries_user ON baldur.entries (ns, user_id, created_at, id) WHERE user_id IS NOT NULL;
CREATE INDEX entries_order ON baldur.entries (ns, order_key, created_at, id) WHERE order_key IS NOT NULL;
CREATE INDEX entries_dedup ON baldur.entries (ns, dedup_key, created_at, id) WHERE dedup_key IS NOT NULL;

-- Listing by status, and by combination and status.
CREATE INDEX states_status ON baldur.states (ns, status, created_at, id);
CREATE INDEX states_facet ON baldur.states (facet_key, status, created_at, id);

-- What may be claimed, in due order. Closed entries are not in here, so they don't slow claims down.
CREATE INDEX states_due ON baldur.states (ns, domain, next_attempt_at, created_at, id)
    WHERE status = 'pending' AND order_head AND replayable;
CREATE INDEX states_due_dependency ON baldur.states (ns, domain, dependency, next_attempt_at, created_at, id)
    WHERE status = 'pending' AND order_head AND replayable;
-- Running claims: as many as are being worked on.
CREATE INDEX states_replaying ON baldur.states (ns, id) WHERE status = 'replaying';

-- The live entries of a key: for merging, and for finding the one that comes first.
CREATE INDEX states_dedup_live ON baldur.states (ns, dedup_key, created_at, id)
    WHERE dedup_key IS NOT NULL AND status IN ('pending', 'replaying', 'reviewing', 'requires_review');
CREATE INDEX states_order_live ON baldur.states (ns, order_key, created_at, id)
    WHERE order_key IS NOT NULL AND status IN ('pending', 'replaying', 'reviewing', 'requires_review');
CREATE INDEX states_order_replaying ON baldur.states (ns, order_key, created_at, id)
    WHERE order_key IS NOT NULL AND status = 'replaying';
-- Unique: of one order key, one entry at most may be claimed.
CREATE UNIQUE INDEX states_order_head ON baldur.states (ns, order_key)
    WHERE order_key IS NOT NULL AND order_head;

-- Statistics know a new namespace only after the next ANALYZE, and would have it that it has no entries, by which any
-- index looks as good as the right one. Without them a namespace is one of many, and plans stay.
ALTER TABLE baldur.entries ALTER COLUMN ns SET STATISTICS 0;
ALTER TABLE baldur.states ALTER COLUMN ns SET STATISTICS 0;
ALTER TABLE baldur.attempts ALTER COLUMN ns SET STATISTICS 0;
ALTER TABLE baldur.payloads ALTER COLUMN ns SET STATISTICS 0;
ALTER TABLE baldur.labels ALTER COLUMN ns SET STATISTICS 0;
ALTER TABLE baldur.merged_ids ALTER COLUMN ns SET STATISTICS 0;
ALTER TABLE baldur.gone ALTER COLUMN ns SET STATISTICS 0;
ALTER TABLE baldur.evidence ALTER COLUMN ns SET STATISTICS 0;
ALTER TABLE baldur.unsealed ALTER COLUMN ns SET STATISTICS 0;
ALTER TABLE baldur.counter_deltas ALTER COLUMN ns SET STATISTICS 0;

-- The primary keys come last: among indexes that cost alike, as all do while a table is empty, the planner takes the
-- youngest, and a plan that was made then lives on while the table grows.
ALTER TABLE baldur.entries ADD PRIMARY KEY (ns, id);
ALTER TABLE baldur.states ADD PRIMARY KEY (ns, id);

-- What processes agree on: the states of circuit breakers, and the pace of replays. One row for each dependency.
CREATE TABLE baldur.breakers (
    ns           integer NOT NULL REFERENCES baldur.namespaces,
    name         text COLLATE "C" NOT NULL,
    -- Grows with each save: whoever saves names the one that it read.
    version      bigint  NOT NULL CHECK (version > 0),
    state        text COLLATE "C" NOT NULL,
    open_until   bigint,
    reopenings   bigint  NOT NULL,
    -- The order of a person, NULL for none. It may be over.
    forced       text COLLATE "C",
    forced_until bigint,
    trips        bigint  NOT NULL,
    changed_by   text COLLATE "C" NOT NULL,
    changed_at   bigint  NOT NULL,
    reason       text COLLATE "C",
    PRIMARY KEY (ns, name),
    CHECK ((state = 'open') = (open_until IS NOT NULL)),
    CHECK (forced IS NOT NULL OR forced_until IS NULL)
) WITH (fillfactor = 50);

-- Token buckets.
CREATE TABLE baldur.paces (
    ns         integer NOT NULL REFERENCES baldur.namespaces,
    name       text COLLATE "C" NOT NULL,
    tokens     double precision NOT NULL,
    started_at bigint NOT NULL,
    taken_at   bigint NOT NULL,
    PRIMARY KEY (ns, name)
) WITH (fillfactor = 50);
