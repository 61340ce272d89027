-- The tables that every service's store has, in the service's own schema ({schema}). Run at every start.
-- Keys are COLLATE "C": the same order on every server, equal to the order of code points.

CREATE TABLE IF NOT EXISTS {schema}.meta (
    key text COLLATE "C" PRIMARY KEY,
    value text NOT NULL
);

-- One row per cell, updated by every commit: room on its page for new versions (HOT), vacuumed early.
CREATE TABLE IF NOT EXISTS {schema}.cells (
    cell integer PRIMARY KEY,
    owner_epoch bigint NOT NULL,
    positions jsonb NOT NULL,
    clock bigint NOT NULL,
    next jsonb NOT NULL,
    published jsonb NOT NULL,
    strikes integer NOT NULL,
    suspect jsonb
) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0.0,
        autovacuum_vacuum_cost_delay = 0);

CREATE TABLE IF NOT EXISTS {schema}.state (
    kind text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    cell integer NOT NULL,
    data bytea NOT NULL,
    rebuilt boolean NOT NULL,
    expires_at bigint,
    PRIMARY KEY (kind, id)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, toast_tuple_target = 4080);
CREATE INDEX IF NOT EXISTS state_scan ON {schema}.state (kind, cell, id);
CREATE INDEX IF NOT EXISTS state_expiry ON {schema}.state (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE IF NOT EXISTS {schema}.timers (
    cell integer NOT NULL,
    name text COLLATE "C" NOT NULL,
    subject text COLLATE "C" NOT NULL,
    due bigint NOT NULL,
    PRIMARY KEY (cell, name, subject)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);

-- Per copied topic and partition, the next position to read.
CREATE TABLE IF NOT EXISTS {schema}.copies (
    topic text COLLATE "C" NOT NULL,
    partition integer NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (topic, partition)
) WITH (fillfactor = 50);

-- The projections as they were created: another shape means that they must be built again.
CREATE TABLE IF NOT EXISTS {schema}.declared (
    name text COLLATE "C" PRIMARY KEY,
    shape text NOT NULL,
    volatile boolean NOT NULL
);

-- Raises unless every cell of a commit was still held as expected: the statement that asks is undone as a whole.
CREATE OR REPLACE FUNCTION {schema}.assert_held(wanted bigint, held integer[]) RETURNS bigint
LANGUAGE plpgsql AS $function$
BEGIN
    IF wanted <> cardinality(held) THEN
        RAISE EXCEPTION 'fenced' USING ERRCODE = 'CS001', DETAIL = array_to_string(held, ',');
    END IF;
    RETURN (extract(epoch FROM statement_timestamp()) * 1000)::bigint;
END
$function$;
