-- Version 8: why no gateway works on the store, as a word: its settles were moved to another store,
-- or an import into it has not run to its end. Null: gateways do.
ALTER TABLE generation ADD COLUMN closed TEXT;
