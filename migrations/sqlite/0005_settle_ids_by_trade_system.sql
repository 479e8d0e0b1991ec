-- Version 5: Douyin's number of a settle is unique within its trade system, because the systems
-- number their settles independently.
DROP INDEX settle_by_settle_id;
CREATE UNIQUE INDEX settle_by_settle_id ON settle (app_id, trade_system, settle_id)
    WHERE settle_id IS NOT NULL;
