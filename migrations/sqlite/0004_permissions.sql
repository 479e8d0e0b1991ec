-- Version 4: permissions one by one, instead of a count and a moment.
--
-- Nothing can name the sends that a version before left unanswered: they are lost. Their last
-- permission is number 0 of no process, and lasts no longer: that process has ended.
ALTER TABLE settle RENAME COLUMN unanswered TO lost;
ALTER TABLE settle ADD COLUMN open_permissions TEXT;     -- JSON array; null: none
ALTER TABLE settle ADD COLUMN last_permission TEXT;      -- JSON permission
UPDATE settle
    SET last_permission = '{"process":0,"number":0,"time_ms":' || last_permit_ms
                          || ',"lasts_ms":0}'
    WHERE last_permit_ms IS NOT NULL;
ALTER TABLE settle DROP COLUMN last_permit_ms;

-- 1 if the store went back to an earlier state while the settle was open.
ALTER TABLE settle ADD COLUMN set_back INTEGER NOT NULL DEFAULT 0;

-- 1 if Douyin must still be asked about the settle although it is final.
ALTER TABLE settle ADD COLUMN owes_query INTEGER NOT NULL DEFAULT 0;
UPDATE settle SET owes_query = 1
    WHERE (contradiction_claimed IS NOT NULL AND contradiction_resolved_ms IS NULL)
       OR (state IN ('SUCCEEDED', 'FAILED')
           AND (settle_status IS NULL OR (origin = 'PLATFORM' AND out_order_no IS NULL)));

-- The version of the rules that wrote the row. Newer ones than a gateway knows are left alone.
ALTER TABLE settle ADD COLUMN rules INTEGER NOT NULL DEFAULT 1;

-- How often the store went back to an earlier state, and when last.
CREATE TABLE generation (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    number   INTEGER NOT NULL,
    begun_ms INTEGER
) STRICT;
INSERT INTO generation (id, number) VALUES (1, 0);
