-- Version 9: the number of a caller's create is taken in all trade systems of its app, and in all
-- apps if the caller named none. The insert looks for it (src/store/sqlite/rows.rs), in the index of
-- the keys, which therefore begins with the number.

-- 1: the caller named no app, and so meant the default one. Null: it named one, or it is not known,
-- or the settle was not made here.
ALTER TABLE settle ADD COLUMN by_default_app INTEGER;
DROP INDEX settle_by_key;
CREATE UNIQUE INDEX settle_by_key ON settle (out_settle_no, app_id, trade_system);
