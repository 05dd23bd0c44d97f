-- A namespace as a store with a past would have it, made without the store: `seed.name`, with `seed.rows` entries.
-- Half of the counters are in deltas that are not folded yet.

INSERT INTO baldur.namespaces (name) VALUES (current_setting('seed.name'));

INSERT INTO baldur.facet_keys (ns, domain, failure_type, dependency)
SELECT m.ns, 'domain_' || d, 'TYPE_' || t, 'service-' || p
FROM baldur.namespaces m, generate_series(0, 4) d, generate_series(0, 3) t, generate_series(0, 2) p
WHERE m.name = current_setting('seed.name');

CREATE TEMPORARY TABLE seed AS
SELECT f.*, i, 1000000000 + i * 1000 AS created_at,
    md5(f.ns || '.' || i)::uuid AS id,
    CASE i % 20 WHEN 0 THEN 'pending' WHEN 1 THEN 'replaying' WHEN 2 THEN 'requires_review'
        WHEN 3 THEN 'rejected' WHEN 4 THEN 'reviewing' ELSE 'resolved' END AS status,
    CASE WHEN i % 10 = 0 THEN 'order-' || i % 500 END AS order_key,
    CASE WHEN i % 7 = 0 THEN 'dedup-' || i % 350 END AS dedup_key
FROM generate_series(1, current_setting('seed.rows')::bigint) i
JOIN (SELECT f.*, row_number() OVER (ORDER BY f.facet_key) - 1 AS n FROM baldur.facet_keys f
      JOIN baldur.namespaces m ON m.ns = f.ns AND m.name = current_setting('seed.name')) f ON f.n = i % 60
-- In the order of nothing, so that rows that belong together are in different pages.
ORDER BY md5(i::text);

INSERT INTO baldur.entries
SELECT ns, id, created_at, facet_key, domain, failure_type, dependency, 'origin-' || i % 5, 'kind-' || i % 3,
    'thing-' || i % 100, 'user-' || i % 50, 'E', 'it failed', 'key-' || i, dedup_key, order_key,
    format('{"shard":"%s","tenant":"tenant-%s"}', i % 3, i % 40), 'v1:' || i % 30, 1, 5, NULL
FROM seed;

INSERT INTO baldur.states
SELECT ns, id, created_at, facet_key, domain, dependency, dedup_key, order_key, true,
    order_key IS NULL OR (live AND row_number() OVER (PARTITION BY order_key, live
        ORDER BY status = 'replaying' DESC, created_at, id) = 1),
    status, 0, NULL, created_at, CASE WHEN status = 'replaying' THEN 1 ELSE 0 END,
    CASE WHEN status = 'replaying' THEN 'worker' END, CASE WHEN status = 'replaying' THEN created_at END,
    CASE WHEN status = 'replaying' THEN created_at + 60000000 END, 0, 0,
    CASE WHEN status IN ('resolved', 'rejected') THEN created_at END, NULL, NULL, '', NULL, 1, created_at, 1,
    created_at, NULL
FROM (SELECT *, status IN ('pending', 'replaying', 'reviewing', 'requires_review') AS live FROM seed) s;

INSERT INTO baldur.payloads
SELECT ns, id, '{}', '{}', 1, '{}', '{}', '{}', 'it failed', '', NULL, NULL FROM seed;

INSERT INTO baldur.labels
SELECT s.ns, l.name, l.value, s.created_at, s.id
FROM seed s, LATERAL (VALUES ('shard', (i % 3)::text), ('tenant', 'tenant-' || i % 40)) l(name, value);

INSERT INTO baldur.evidence
SELECT ns, id, 1, format('{"v":1,"entry":"%s","counter":1,"event":"capture","from":null,"to":"pending","claim_token":0,'
    '"actor":"system","at":"1970-01-01T00:16:40.000000Z","reason":null,"traceparent":null,"tracestate":null,'
    '"digest":null}', id) FROM seed;

INSERT INTO baldur.unsealed (ns, id, counter, at) SELECT ns, id, 1, created_at FROM seed ORDER BY i;

-- A capture that merged, and an entry that went.
INSERT INTO baldur.merged_ids SELECT ns, md5(id::text)::uuid, id, 2 FROM seed WHERE i % 1000 = 1;
INSERT INTO baldur.gone
SELECT ns, md5('gone' || id::text)::uuid, 'evicted', domain, failure_type, dependency, 'pending', created_at, 1, created_at
FROM seed WHERE i % 1000 = 1;
INSERT INTO baldur.evidence
SELECT ns, id, n, format('{"v":1,"entry":"%s","counter":%s,"event":"%s","from":null,"to":"pending","claim_token":0,'
    '"actor":"system","at":"1970-01-01T00:16:40.000000Z","reason":null,"traceparent":null,"tracestate":null,'
    '"digest":null}', id, n, event)
FROM baldur.gone, (VALUES (1, 'capture'), (2, 'evicted')) v(n, event)
WHERE ns = (SELECT ns FROM seed LIMIT 1);

INSERT INTO baldur.counters
SELECT facet_key, status, count(*) FROM seed WHERE i % 2 = 0 GROUP BY facet_key, status;
INSERT INTO baldur.live_domains
SELECT ns, domain, count(*) FROM seed
WHERE i % 2 = 0 AND status IN ('pending', 'replaying', 'reviewing', 'requires_review') GROUP BY ns, domain;
UPDATE baldur.namespaces n SET unsealed = s.n, live = s.live
FROM (SELECT ns, count(*) AS n, count(*) FILTER (
        WHERE status IN ('pending', 'replaying', 'reviewing', 'requires_review')) AS live
      FROM seed WHERE i % 2 = 0 GROUP BY ns) s WHERE n.ns = s.ns;
INSERT INTO baldur.counter_deltas (ns, facet_key, status, domain, n, unsealed)
SELECT ns, facet_key, status, domain, count(*), count(*) FROM seed WHERE i % 2 = 1
GROUP BY ns, facet_key, status, domain;

DROP TABLE seed;
