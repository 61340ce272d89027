-- The log of one namespace, in the schema {schema}. Run at every start.

CREATE TABLE IF NOT EXISTS {schema}.identity (
    id uuid PRIMARY KEY,
    layout integer NOT NULL,
    made_at timestamptz NOT NULL DEFAULT now()
);

-- Partition counts are fixed at creation. A stream's records are rows of its service's schema.
CREATE TABLE IF NOT EXISTS {schema}.topics (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic text COLLATE "C" NOT NULL UNIQUE,
    partitions integer NOT NULL,
    compacted boolean NOT NULL,
    stream boolean NOT NULL
);

-- One row per partition, locked while an append gives out its positions and commits: positions rise in commit order.
-- Updated by every batch: room on its page for new versions (HOT), vacuumed early.
CREATE TABLE IF NOT EXISTS {schema}.heads (
    topic integer NOT NULL,
    partition integer NOT NULL,
    next bigint NOT NULL DEFAULT 0,
    start bigint NOT NULL DEFAULT 0,
    appended_at bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (topic, partition)
) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0.0,
        autovacuum_vacuum_cost_delay = 0);

-- One row per process that appends, with what its last batch was given: after a lost connection it looks here.
CREATE TABLE IF NOT EXISTS {schema}.appenders (
    id uuid PRIMARY KEY,
    batch bigint NOT NULL,
    firsts bigint[] NOT NULL,
    times bigint[] NOT NULL,
    used_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0.0,
        autovacuum_vacuum_cost_delay = 0);

-- Up to which position the compaction of a partition has come, and that of deletions of long ago.
CREATE TABLE IF NOT EXISTS {schema}.compaction (
    topic integer NOT NULL,
    partition integer NOT NULL,
    upto bigint NOT NULL,
    purged bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (topic, partition)
);
ALTER TABLE {schema}.compaction ADD COLUMN IF NOT EXISTS purged bigint NOT NULL DEFAULT 0;

-- Topic n's records are in the table t<n>, in turn split by time unless it is compacted: retention drops whole tables.
CREATE TABLE IF NOT EXISTS {schema}.records (
    topic integer NOT NULL,
    partition integer NOT NULL,
    position bigint NOT NULL,
    appended_at bigint NOT NULL,
    key text COLLATE "C" NOT NULL,
    headers text NOT NULL,
    value bytea NOT NULL
) PARTITION BY LIST (topic);
-- Frames seldom compress well enough to be worth the time.
ALTER TABLE {schema}.records ALTER COLUMN value SET STORAGE EXTERNAL;

-- Append one batch of a process. Heads come in (topic, partition) order, the same for everybody, so that no two
-- processes wait for each other; the records come grouped by head, counts_[i] of them for head i.
-- Raises CS002 if the process has another row of {schema}.appenders now: this batch comes too late.
CREATE OR REPLACE FUNCTION {schema}.append(
    appender_ uuid, batch_ bigint, topics_ integer[], partitions_ integer[], counts_ integer[],
    keys_ text[], headers_ text[], values_ bytea[],
    OUT firsts_ bigint[], OUT times_ bigint[]
) LANGUAGE plpgsql AS $function$
DECLARE
    now_ bigint := (extract(epoch FROM clock_timestamp()) * 1000)::bigint;
    first_ bigint;
    time_ bigint;
    before_ bigint := 1;
    heads_ integer[];
    bases_ bigint[];
BEGIN
    FOR i IN 1 .. cardinality(topics_) LOOP
        UPDATE {schema}.heads h
        SET next = h.next + counts_[i], appended_at = greatest(h.appended_at, now_)
        WHERE h.topic = topics_[i] AND h.partition = partitions_[i]
        RETURNING h.next - counts_[i], h.appended_at INTO STRICT first_, time_;
        firsts_[i] := first_;
        times_[i] := time_;
        heads_ := heads_ || array_fill(i, ARRAY[counts_[i]]);
        bases_[i] := first_ - before_;
        before_ := before_ + counts_[i];
    END LOOP;
    UPDATE {schema}.appenders SET batch = batch_, firsts = firsts_, times = times_, used_at = now()
    WHERE id = appender_ AND batch < batch_;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'this appender was replaced' USING ERRCODE = 'CS002';
    END IF;
    INSERT INTO {schema}.records (topic, partition, position, appended_at, key, headers, value)
    SELECT topics_[r.head], partitions_[r.head], bases_[r.head] + r.n, times_[r.head], r.key, r.headers, r.value
    FROM unnest(heads_, keys_, headers_, values_) WITH ORDINALITY AS r(head, key, headers, value, n);
END
$function$;
