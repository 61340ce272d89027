-- Named statements of the log. {schema} is its schema, {table} a topic's table or a stream's.

-- name: identity
INSERT INTO {schema}.identity (id, layout) SELECT $1::uuid, $2::integer WHERE NOT EXISTS (SELECT FROM {schema}.identity)

-- name: topics
SELECT id, topic, partitions, compacted, stream FROM {schema}.topics

-- name: declare
INSERT INTO {schema}.topics (topic, partitions, compacted, stream) VALUES ($1, $2, $3, $4)
ON CONFLICT (topic) DO NOTHING

-- name: declare_heads
INSERT INTO {schema}.heads (topic, partition) SELECT $1, p FROM generate_series(0, $2 - 1) p ON CONFLICT DO NOTHING

-- name: append
SELECT firsts_, times_ FROM {schema}.append($1, $2, $3, $4, $5, $6, $7, $8)

-- name: enter_appender
INSERT INTO {schema}.appenders (id, batch, firsts, times) VALUES ($1, 0, '{{}}', '{{}}')
ON CONFLICT DO NOTHING

-- name: replace_appender
-- Under its new id the row still says what became of the last batch; a repeat of this statement finds it there. It
-- waits for an append that is running under the old id, and one that starts later fails.
UPDATE {schema}.appenders SET id = $2 WHERE id = $1 OR id = $2 RETURNING batch, firsts, times

-- name: leave_appender
DELETE FROM {schema}.appenders WHERE id = $1

-- name: heads
SELECT h.topic, h.partition, h.start, h.next
FROM unnest($1::integer[], $2::integer[]) AS wanted(topic, partition) JOIN {schema}.heads h USING (topic, partition)

-- name: records
-- Records of a partition rise in position and time alike: $3 spares looking into tables of earlier days.
SELECT position, key, value, headers, appended_at FROM {table}
WHERE partition = $1 AND position >= $2 AND appended_at >= $3 ORDER BY position LIMIT $4

-- name: stream_rows
SELECT number, key, value, headers, appended_at FROM {table}
WHERE cell = $1 AND number >= $2 AND $3::bigint >= 0 ORDER BY number LIMIT $4

-- name: stream_bounds
SELECT cell, (SELECT min(number) FROM {table} t WHERE t.cell = wanted.cell),
       (SELECT max(number) FROM {table} t WHERE t.cell = wanted.cell)
FROM unnest($1::integer[]) AS wanted(cell)

-- name: processes
-- How many logs are open on this namespace: each holds a lock of its own session.
SELECT count(*) FROM pg_locks
WHERE locktype = 'advisory' AND mode = 'ShareLock' AND granted AND objsubid = 1
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
AND classid = (($1::bigint >> 32) & 4294967295)::oid AND objid = ($1::bigint & 4294967295)::oid

-- name: group_locks
-- Members hold (their class, their backend), owners (the group's class, the cell).
SELECT classid::bigint, objid::bigint, pid FROM pg_locks
WHERE locktype = 'advisory' AND mode = 'ExclusiveLock' AND granted AND objsubid = 2
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
AND classid IN (($1::integer & 4294967295::bigint)::oid, ($2::integer & 4294967295::bigint)::oid)

-- name: take_cells
SELECT cell FROM unnest($2::integer[]) AS cell WHERE pg_try_advisory_lock($1::integer, cell)

-- name: give_cells
SELECT pg_advisory_unlock($1::integer, cell) FROM unnest($2::integer[]) AS cell

-- name: leaves
-- The tables of a topic with the time at which each ends.
SELECT c.relname,
       (regexp_match(pg_get_expr(c.relpartbound, c.oid), 'TO \(''(\d+)''\)'))[1]::bigint
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = $1::regclass

-- name: lock_heads
SELECT 1 FROM {schema}.heads WHERE topic = $1 ORDER BY partition FOR UPDATE

-- name: raise_starts
UPDATE {schema}.heads h
SET start = coalesce((SELECT min(r.position) FROM {table} r WHERE r.partition = h.partition), h.next)
WHERE h.topic = $1

-- name: compact
-- The range [$2, $3) of a partition holds newer records than those before: what it has under the same key goes.
WITH newest AS (
    SELECT key, max(position) AS position FROM {table} WHERE partition = $1 AND position >= $2 AND position < $3
    GROUP BY key
), gone AS (
    DELETE FROM {table} old USING newest
    WHERE old.partition = $1 AND old.key = newest.key AND old.position < newest.position
    RETURNING 1
)
SELECT count(*) FROM gone

-- name: compacted_upto
SELECT h.partition, coalesce(c.upto, 0), h.next
FROM {schema}.heads h LEFT JOIN {schema}.compaction c USING (topic, partition)
WHERE h.topic = $1 AND coalesce(c.upto, 0) < h.next ORDER BY h.partition

-- name: note_compaction
INSERT INTO {schema}.compaction (topic, partition, upto) VALUES ($1, $2, $3) ON CONFLICT (topic, partition) DO UPDATE SET upto = excluded.upto

-- name: purged_upto
SELECT partition, purged, upto FROM {schema}.compaction WHERE topic = $1 AND purged < upto ORDER BY partition

-- name: old_records
SELECT position, value FROM {table}
WHERE partition = $1 AND position >= $2 AND position < $3 AND appended_at < $4 ORDER BY position LIMIT $5

-- name: purge
DELETE FROM {table} WHERE partition = $1 AND position = ANY($2::bigint[])

-- name: note_purge
UPDATE {schema}.compaction SET purged = $3 WHERE topic = $1 AND partition = $2

-- name: forget_appenders
DELETE FROM {schema}.appenders WHERE used_at < now() - interval '30 days'
