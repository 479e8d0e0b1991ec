-- Version 3: why no gateway works on the store, as a word: its settles were moved to another store,
-- or an import into it has not run to its end. Null: gateways do. Every write looks here.
ALTER TABLE store_state ADD COLUMN closed text COLLATE "C";
