-- Version 9: the number of a caller's create is unique in all trade systems of its app, and in all
-- apps if the caller named none.

-- 1: the caller named no app, and so meant the default one. Null: it named one, or it is not known,
-- or the settle was not made here.
ALTER TABLE settle ADD COLUMN by_default_app INTEGER;
CREATE UNIQUE INDEX settle_by_number ON settle (app_id, out_settle_no) WHERE origin = 'GATEWAY';
CREATE UNIQUE INDEX settle_by_number_of_default_app ON settle (out_settle_no)
    WHERE origin = 'GATEWAY' AND by_default_app IS NOT NULL;
