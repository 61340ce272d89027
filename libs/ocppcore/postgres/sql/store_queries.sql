-- Named statements of the store. {schema} is the service's schema, {copy} a copy's table, {stream} a stream's.

-- name: log_identity
-- The conflicting update changes nothing; it makes the noted value come back in the same statement.
INSERT INTO {schema}.meta AS m VALUES ('log', $1) ON CONFLICT (key) DO UPDATE SET value = m.value RETURNING value

-- name: open_cells
INSERT INTO {schema}.cells AS c
SELECT cell, 1, '{{}}', 0, '{{}}', '{{}}', 0, NULL FROM unnest($1::integer[]) cell ORDER BY cell
ON CONFLICT (cell) DO UPDATE SET owner_epoch = c.owner_epoch + 1, strikes = c.strikes + 1
RETURNING *

-- name: suspect
UPDATE {schema}.cells
SET suspect = jsonb_build_object('topic', $3::text, 'position', $4::bigint, 'times',
    CASE WHEN suspect->>'topic' = $3 AND (suspect->>'position')::bigint = $4
    THEN (suspect->>'times')::integer + 1 ELSE 1 END)
WHERE cell = $1 AND owner_epoch = $2
RETURNING (suspect->>'times')::integer

-- name: load
SELECT s.kind, s.id, s.data
FROM unnest($1::text[], $2::text[]) AS wanted(kind, id) JOIN {schema}.state s USING (kind, id)

-- name: scan
SELECT id, data FROM {schema}.state WHERE kind = $1 AND cell = $2 AND id > $3 ORDER BY id LIMIT $4

-- name: timers
SELECT cell, name, subject, due FROM {schema}.timers WHERE cell = ANY($1::integer[])

-- name: stream_rows
SELECT number, key, value, headers FROM {stream} WHERE cell = $1 AND number >= $2 ORDER BY number LIMIT $3

-- name: restore_rows
INSERT INTO {stream} (cell, number, key, value, headers, appended_at)
SELECT cell, number, key, value, headers, (extract(epoch FROM statement_timestamp()) * 1000)::bigint
FROM unnest($1::integer[], $2::bigint[], $3::text[], $4::bytea[], $5::text[]) r(cell, number, key, value, headers)
ON CONFLICT (cell, number) DO NOTHING

-- name: restore_next
-- A cell that was never opened is made as open_cells expects it: its first owner begins at epoch 1 without a strike.
INSERT INTO {schema}.cells AS c
SELECT cell, 0, '{{}}', 0, jsonb_build_object($1::text, next), '{{}}', -1, NULL
FROM unnest($2::integer[], $3::bigint[]) r(cell, next)
ON CONFLICT (cell) DO UPDATE SET next = c.next
    || jsonb_build_object($1::text, greatest((c.next->>$1)::bigint, (excluded.next->>$1)::bigint))

-- name: expire
-- SKIP LOCKED: what a commit is writing now will have another expiry, or is found the next time.
WITH gone AS (
    DELETE FROM {schema}.state s USING (
        SELECT kind, id FROM {schema}.state WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED
    ) old
    WHERE s.kind = old.kind AND s.id = old.id
    RETURNING 1
)
SELECT count(*) FROM gone

-- name: trim
-- Rows of a stream over their retention, oldest first. What the log has not acknowledged stays, and so does each cell's
-- newest row, which says where the numbers go on.
WITH known AS (
    SELECT c.cell, coalesce((c.published->>$1)::bigint, 0) AS published,
        (SELECT max(s.number) FROM {stream} s WHERE s.cell = c.cell) AS newest,
        (SELECT s.appended_at FROM {stream} s WHERE s.cell = c.cell ORDER BY s.number LIMIT 1) AS since
    FROM {schema}.cells c
), old AS (
    SELECT o.cell, o.number FROM known k CROSS JOIN LATERAL (
        SELECT s.cell, s.number, s.appended_at FROM {stream} s
        WHERE s.cell = k.cell AND s.number < least(k.published, k.newest) ORDER BY s.number LIMIT $3
    ) o
    WHERE k.since < $2 AND o.appended_at < $2 LIMIT $3
), gone AS (
    DELETE FROM {stream} s USING old WHERE s.cell = old.cell AND s.number = old.number RETURNING 1
)
SELECT count(*) FROM gone

-- name: stream_of
SELECT appended_at, cell, number, value, headers FROM {stream}
WHERE key = $1 AND (appended_at, number) > ($2, $3) ORDER BY appended_at, number LIMIT $4

-- name: first_numbers
SELECT c.cell, (SELECT min(s.number) FROM {stream} s WHERE s.cell = c.cell) FROM {schema}.cells c

-- name: purge_copy
WITH gone AS (
    DELETE FROM {copy} c USING (
        SELECT key FROM {copy} WHERE value IS NULL AND deleted_at < $1 ORDER BY deleted_at LIMIT $2
        FOR UPDATE SKIP LOCKED
    ) old
    WHERE c.key = old.key
    RETURNING 1
)
SELECT count(*) FROM gone

-- name: note_followed
INSERT INTO {schema}.meta VALUES ('followed', $1) ON CONFLICT (key) DO UPDATE SET value = excluded.value

-- name: copy_positions
SELECT partition, position FROM {schema}.copies WHERE topic = $1

-- name: copy_apply
WITH applied AS (
    INSERT INTO {copy} AS c (key, value, partition, position, source, number, stale, deleted_at)
    SELECT key, value, partition, position, source, number, stale,
        CASE WHEN value IS NULL THEN (extract(epoch FROM statement_timestamp()) * 1000)::bigint END
    FROM unnest($2::text[], $3::bytea[], $4::integer[], $5::bigint[], $6::text[], $7::bigint[], $8::bigint[])
        u(key, value, partition, position, source, number, stale)
    ON CONFLICT (key) DO UPDATE SET
        value = CASE WHEN {newer} THEN excluded.value ELSE c.value END,
        partition = CASE WHEN {newer} THEN excluded.partition ELSE c.partition END,
        position = CASE WHEN {newer} THEN excluded.position ELSE c.position END,
        source = CASE WHEN {newer} THEN excluded.source ELSE c.source END,
        number = CASE WHEN {newer} THEN excluded.number ELSE c.number END,
        deleted_at = CASE WHEN {newer} THEN excluded.deleted_at ELSE c.deleted_at END,
        stale = nullif(
            greatest(c.stale, c.position, excluded.stale, excluded.position),
            CASE WHEN {newer} THEN excluded.position ELSE c.position END
        )
    WHERE {newer} OR greatest(excluded.stale, excluded.position) > greatest(c.stale, c.position)
)
INSERT INTO {schema}.copies AS c
SELECT $1, partition, position FROM unnest($9::integer[], $10::bigint[]) p(partition, position)
ON CONFLICT (topic, partition) DO UPDATE SET position = excluded.position WHERE c.position < excluded.position

-- name: is_newer
-- As `store.is_newer` says: of the row that came (excluded) and the one that is there (c).
CASE WHEN excluded.source = c.source THEN (excluded.number, excluded.position) > (c.number, c.position)
ELSE excluded.position >= c.position END

-- name: copy_find
SELECT c.key, c.value, c.partition, c.position, c.source, c.number
FROM unnest($1::text[]) AS wanted(key) JOIN {copy} c USING (key)
WHERE c.value IS NOT NULL

-- name: copy_all
SELECT key, value, partition, position, source, number FROM {copy} WHERE value IS NOT NULL

-- name: copy_stale
SELECT key, value, partition, position, source, number FROM {copy} WHERE stale IS NOT NULL ORDER BY stale LIMIT $1

-- name: copy_reset
WITH emptied AS (DELETE FROM {copy})
DELETE FROM {schema}.copies WHERE topic = $1

-- name: owned
-- A session that has opened cells holds the service's advisory lock in shared mode, one that rebuilds holds it alone.
SELECT EXISTS (
    SELECT FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND (mode = 'ShareLock' OR pid <> $2) AND objsubid = 1
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND classid = (($1::bigint >> 32) & 4294967295)::oid AND objid = ($1::bigint & 4294967295)::oid
)

-- name: adopt_log
WITH noted AS (
    INSERT INTO {schema}.meta VALUES ('log', $1) ON CONFLICT (key) DO UPDATE SET value = excluded.value
)
UPDATE {schema}.cells c SET published = coalesce($5::jsonb->c.cell::text, '{{}}'),
    positions = c.positions || coalesce((
        SELECT jsonb_object_agg(p.topic, p.position)
        FROM unnest($2::text[], $3::integer[], $4::bigint[]) p(topic, cell, position) WHERE p.cell = c.cell
    ), '{{}}')

-- name: rebuilt_state
SELECT kind, id, data FROM {schema}.state WHERE rebuilt ORDER BY kind, id

-- name: rebuilt_timers
SELECT cell, name, subject, due FROM {schema}.timers ORDER BY cell, name, subject
