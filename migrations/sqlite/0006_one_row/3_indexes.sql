INSERT INTO late_history
SELECT settle, revision, json_patch('{}', json_object(
    'revision', revision, 'state', state, 'source', source, 'log_id', log_id,
    'error', json(error), 'time_ms', time_ms))
FROM history_5 WHERE revision > 16;

DROP TABLE due;
DROP TABLE request;
DROP TABLE history_5;
DROP TABLE settle_5;

CREATE UNIQUE INDEX settle_by_key ON settle (app_id, trade_system, out_settle_no);
-- Douyin's systems number their settles independently.
CREATE UNIQUE INDEX settle_by_settle_id ON settle (app_id, trade_system, settle_id)
    WHERE settle_id IS NOT NULL;
-- For lists. SQLite ends every index with the id. A list of all states merges the states.
CREATE INDEX settle_by_state ON settle (app_id, state, create_time_ms);
CREATE INDEX settle_by_order ON settle (app_id, listed_order_no, create_time_ms)
    WHERE listed_order_no IS NOT NULL;
-- Open contradictions are few, and are looked for among all settles.
CREATE INDEX settle_by_open_contradiction ON settle (app_id)
    WHERE contradiction_claimed IS NOT NULL AND contradiction_resolved_ms IS NULL;
-- The schedule. A search for due or leased settles reads this index only, not the rows.
CREATE INDEX settle_by_due ON settle (app_id, due_at_ms, id, lease_until_ms)
    WHERE due_at_ms IS NOT NULL;
