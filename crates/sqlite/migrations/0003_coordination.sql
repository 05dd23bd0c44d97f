-- What processes agree on: the states of circuit breakers, and the pace of replays. One row for each dependency.
--
-- Times are integer microseconds since the Unix epoch, UTC, by the clock of whoever wrote.

CREATE TABLE breakers (
    ns           INTEGER NOT NULL REFERENCES namespaces,
    name         TEXT    NOT NULL,
    -- Grows with each save: whoever saves names the one that it read.
    version      INTEGER NOT NULL CHECK (version > 0),
    state        TEXT    NOT NULL,
    open_until   INTEGER,
    reopenings   INTEGER NOT NULL,
    -- The order of a person, NULL for none. It may be over.
    forced       TEXT,
    forced_until INTEGER,
    trips        INTEGER NOT NULL,
    changed_by   TEXT    NOT NULL,
    changed_at   INTEGER NOT NULL,
    reason       TEXT,
    PRIMARY KEY (ns, name),
    CHECK ((state = 'open') = (open_until IS NOT NULL)),
    CHECK (forced IS NOT NULL OR forced_until IS NULL)
) STRICT, WITHOUT ROWID;

-- Token buckets.
CREATE TABLE paces (
    ns         INTEGER NOT NULL REFERENCES namespaces,
    name       TEXT    NOT NULL,
    tokens     REAL    NOT NULL,
    started_at INTEGER NOT NULL,
    taken_at   INTEGER NOT NULL,
    PRIMARY KEY (ns, name)
) STRICT, WITHOUT ROWID;
