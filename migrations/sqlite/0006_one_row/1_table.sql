-- Version 6: one row for each settle, so that a write touches few pages.
--
-- Before, four tables with nine B-trees held its changing columns, its request, its schedule and
-- its history.

ALTER TABLE settle RENAME TO settle_5;
ALTER TABLE history RENAME TO history_5;

CREATE TABLE settle (
    id                        INTEGER PRIMARY KEY,
    app_id                    TEXT    NOT NULL,
    trade_system              TEXT    NOT NULL,
    out_settle_no             TEXT    NOT NULL,
    create_time_ms            INTEGER NOT NULL,
    -- The order under which it is listed: the request's, else the one that Douyin named.
    listed_order_no           TEXT,

    version                   INTEGER NOT NULL,
    revision                  INTEGER NOT NULL,
    -- The version of the rules that wrote the row. A gateway does not write a row of newer rules.
    rules                     INTEGER NOT NULL,
    update_time_ms            INTEGER NOT NULL,
    origin                    TEXT    NOT NULL,
    state                     TEXT    NOT NULL,
    settle_id                 TEXT,
    -- 1 if the gateway must still query the settle although it is final.
    owes_query                INTEGER NOT NULL,
    contradiction_claimed     TEXT,
    contradiction_settle_id   TEXT,
    contradiction_source      TEXT,
    contradiction_time_ms     INTEGER,
    -- When an operator decided about the contradiction. Null while it is open, or if there is none.
    contradiction_resolved_ms INTEGER,

    -- The schedule: when a worker looks at the settle again, and which one may.
    -- Null: never, because it is final and needs no query.
    due_at_ms                 INTEGER,
    -- Null: no worker holds it.
    lease_until_ms            INTEGER,
    -- Grows with each lease and never goes back.
    fence                     INTEGER NOT NULL,
    -- The earliest look that a caller or a callback asked for since this lease began, or null. When
    -- the holder gives the lease back, due_at_ms must not be later.
    wanted_at_ms              INTEGER,
    -- Null: Douyin has not been called yet.
    attempted_at_ms           INTEGER,
    attempts                  INTEGER NOT NULL,
    backoff                   INTEGER NOT NULL,

    -- JSON (src/store/sqlite/json.rs), or null. A new field needs new rules or a migration, so that
    -- an older gateway does not write the row and drop the field.
    rejection                 TEXT,
    last_error                TEXT,
    evidence                  TEXT,
    facts                     TEXT,
    -- The caller's request and the exact bytes that are sent for it. Null: the settle was not made
    -- here.
    request                   TEXT,
    body                      TEXT,
    -- The entries of the first 16 revisions, one line of JSON each; the others are in late_history.
    history                   TEXT    NOT NULL
) STRICT;

-- Later history entries of a settle with more than 16 revisions.
CREATE TABLE late_history (
    settle   INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    entry    TEXT    NOT NULL,
    PRIMARY KEY (settle, revision)
) STRICT, WITHOUT ROWID;
