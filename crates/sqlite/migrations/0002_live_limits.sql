-- Limits of live entries: how many there are, which may go first, and what is known of those that went.

-- How many live entries the namespace has, so that nobody needs to count them.
ALTER TABLE namespaces ADD COLUMN live INTEGER NOT NULL DEFAULT 0 CHECK (live >= 0);

-- How many live entries each domain has. Domains without any have no row.
CREATE TABLE live_domains (
    ns     INTEGER NOT NULL REFERENCES namespaces,
    domain TEXT    NOT NULL,
    n      INTEGER NOT NULL CHECK (n >= 0),
    PRIMARY KEY (ns, domain)
) STRICT, WITHOUT ROWID;

INSERT INTO live_domains (ns, domain, n)
    SELECT ns, domain, count(*) FROM entries
    WHERE status IN ('pending', 'replaying', 'reviewing', 'requires_review') GROUP BY ns, domain;
UPDATE namespaces SET live =
    (SELECT coalesce(sum(l.n), 0) FROM live_domains l WHERE l.ns = namespaces.ns);

-- Entries that are no longer there. `seq` is the number that evidence and merged ids know them by.
CREATE TABLE gone (
    seq          INTEGER PRIMARY KEY,
    ns           INTEGER NOT NULL REFERENCES namespaces,
    id           BLOB    NOT NULL CHECK (length(id) = 16),
    -- Why: `evicted`.
    cause        TEXT    NOT NULL,
    domain       TEXT    NOT NULL,
    failure_type TEXT    NOT NULL,
    dependency   TEXT    NOT NULL,
    status       TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    occurrences  INTEGER NOT NULL,
    gone_at      INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX gone_id ON gone (ns, id);

-- What may make room in a domain, oldest first: live entries that nobody works on.
CREATE INDEX entries_evictable ON entries (ns, domain, created_at, id)
    WHERE status IN ('pending', 'requires_review');

-- Evidence outlives its entry, so it no longer refers to one that must be there: `entry` is a number of
-- `entries` or of `gone`.
CREATE TABLE evidence_of_all (
    entry   INTEGER NOT NULL,
    counter INTEGER NOT NULL CHECK (counter > 0),
    body    TEXT    NOT NULL,
    PRIMARY KEY (entry, counter)
) STRICT, WITHOUT ROWID;
INSERT INTO evidence_of_all (entry, counter, body)
    SELECT entry, counter, body FROM evidence ORDER BY entry, counter;
DROP TABLE evidence;
ALTER TABLE evidence_of_all RENAME TO evidence;
