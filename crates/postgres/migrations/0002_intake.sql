-- Capture inside a host's own transaction: by the program, or by SQL from any language.

CREATE TABLE baldur.intake (
    ns         integer NOT NULL REFERENCES baldur.namespaces,
    pos        bigint  GENERATED ALWAYS AS IDENTITY,
    id         uuid    NOT NULL,
    -- When it was captured, by the server's clock.
    at         bigint  NOT NULL,
    -- `prepared` by the program, redacted; or `described` by SQL: not redacted.
    form       text COLLATE "C" NOT NULL CHECK (form IN ('prepared', 'described')),
    body       text COLLATE "C" NOT NULL,
    -- Whoever completes it has it until then.
    held_until bigint  NOT NULL DEFAULT 0,
    -- Why it can't become an entry; NULL while it may.
    refused    text COLLATE "C",
    PRIMARY KEY (ns, pos)
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);
CREATE INDEX intake_refused ON baldur.intake (ns, pos) WHERE refused IS NOT NULL;

-- Captures a failed operation in the transaction of whoever calls: it exists if that commits. `operation` is the JSON
-- object that `POST /api/v1/entries` takes. Answers the id that the entry will have. Until a process of Baldur has redacted
-- and completed it, the operation is in no list, and nobody replays it.
--
-- It runs with the rights of its owner, so a role that calls it needs USAGE on the schema and EXECUTE on the function, and no
-- right on any table.
CREATE FUNCTION baldur.capture(operation json, namespace text DEFAULT 'default') RETURNS uuid
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    number integer;
    entry  uuid;
    field  text;
BEGIN
    IF operation IS NULL OR json_typeof(operation) <> 'object' THEN
        RAISE EXCEPTION 'operation must be a JSON object' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOREACH field IN ARRAY ARRAY['domain', 'failure_type'] LOOP
        IF coalesce(json_typeof(operation -> field), 'null') <> 'string' THEN
            RAISE EXCEPTION 'operation needs the text "%"', field USING ERRCODE = 'invalid_parameter_value';
        END IF;
    END LOOP;
    IF octet_length(operation::text) > 16777216 THEN
        RAISE EXCEPTION 'operation has % bytes; at most 16777216 are allowed', octet_length(operation::text)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT n.ns INTO number FROM baldur.namespaces n WHERE n.name = namespace;
    IF number IS NULL THEN
        RAISE EXCEPTION 'there is no namespace "%"', namespace
            USING ERRCODE = 'invalid_parameter_value', HINT = 'a namespace exists once a process of Baldur used it';
    END IF;
    -- The id of the operation, if it has one: then calling again captures nothing twice.
    entry := coalesce((operation ->> 'id')::uuid, gen_random_uuid());
    INSERT INTO baldur.intake (ns, id, at, form, body)
        VALUES (number, entry, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, 'described',
                operation::text);
    RETURN entry;
END
$$;
REVOKE EXECUTE ON FUNCTION baldur.capture(json, text) FROM PUBLIC;
