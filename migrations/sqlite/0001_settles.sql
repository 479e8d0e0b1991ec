-- Version 1: settles, their audit trail, their schedule, and tokens.
--
-- Times are milliseconds since the Unix epoch, amounts are fen. Words in capitals are the store's
-- own spelling of closed enums (src/store/sqlite/words.rs). A gateway that meets a word it does
-- not know leaves the row alone, so a new word needs no migration; a new column, or a new field in
-- a JSON column, needs one, so that an older gateway refuses the file instead of dropping it.

-- What is known about a settle and changes while it lives. Small on purpose: every write of a
-- settle rewrites this row.
CREATE TABLE settle (
    id                      INTEGER PRIMARY KEY,
    app_id                  TEXT    NOT NULL,
    trade_system            TEXT    NOT NULL,
    out_settle_no           TEXT    NOT NULL,
    create_time_ms          INTEGER NOT NULL,
    -- The fence of the last due row, kept while there is none: fences never start again.
    last_fence              INTEGER NOT NULL DEFAULT 0,

    version                 INTEGER NOT NULL,
    revision                INTEGER NOT NULL,
    update_time_ms          INTEGER NOT NULL,
    origin                  TEXT    NOT NULL,
    state                   TEXT    NOT NULL,
    settle_id               TEXT,
    rejection               TEXT,               -- JSON failure
    last_error              TEXT,               -- JSON failure

    contradiction_claimed   TEXT,
    contradiction_settle_id TEXT,
    contradiction_source    TEXT,
    contradiction_time_ms   INTEGER,

    unanswered              INTEGER NOT NULL,
    last_permit_ms          INTEGER,
    exists_seen_ms          INTEGER,
    refused                 TEXT,               -- JSON failure
    fail_seen               TEXT,
    unlisted                TEXT,               -- JSON failure
    unlisted_times          INTEGER,
    empties_after_expiry    INTEGER NOT NULL,
    last_counted_ms         INTEGER,

    wallet_settle_id        TEXT,
    order_id                TEXT,
    out_order_no            TEXT,
    item_order_id           TEXT,
    cp_extra                TEXT,
    settle_status           TEXT,
    settle_amount_fen       INTEGER,
    rake_fen                INTEGER,
    commission_fen          INTEGER,
    platform_ticket_fen     INTEGER,
    settle_detail           TEXT,
    message                 TEXT,
    settle_time_ms          INTEGER,
    auto_settle             INTEGER,

    -- The order that a list finds it by: the request's, else the one above.
    listed_order_no         TEXT
) STRICT;

CREATE UNIQUE INDEX settle_by_key ON settle (app_id, trade_system, out_settle_no);
CREATE UNIQUE INDEX settle_by_settle_id ON settle (app_id, settle_id)
    WHERE settle_id IS NOT NULL;

-- One for each way to list, each in the order of a list; SQLite ends every index with the id.
CREATE INDEX settle_by_time ON settle (app_id, create_time_ms);
CREATE INDEX settle_by_state ON settle (app_id, state, create_time_ms);
CREATE INDEX settle_by_order ON settle (app_id, listed_order_no, create_time_ms)
    WHERE listed_order_no IS NOT NULL;

-- A caller's request with the bytes that are sent. Written once, never changed; deleted only when
-- the number turns out to be somebody else's settle. One row for each settle of origin GATEWAY.
CREATE TABLE request (
    settle           INTEGER PRIMARY KEY REFERENCES settle (id),
    out_order_no     TEXT    NOT NULL,
    item_order_id    TEXT,
    settle_desc      TEXT    NOT NULL,
    settle_params    TEXT    NOT NULL,          -- JSON array, in the caller's order
    ext              TEXT,
    notify_url       TEXT,
    sent_ext         TEXT,
    body             TEXT    NOT NULL,
    submit_before_ms INTEGER NOT NULL
) STRICT;

-- The audit trail: one row per revision.
CREATE TABLE history (
    settle   INTEGER NOT NULL REFERENCES settle (id),
    revision INTEGER NOT NULL,
    state    TEXT    NOT NULL,
    source   TEXT    NOT NULL,
    log_id   TEXT,
    error    TEXT,                              -- JSON failure
    time_ms  INTEGER NOT NULL,
    PRIMARY KEY (settle, revision)
) STRICT, WITHOUT ROWID;

-- When to look at a settle again, and who may: one row for each settle that is not final.
CREATE TABLE due (
    settle          INTEGER PRIMARY KEY REFERENCES settle (id),
    app_id          TEXT    NOT NULL,
    due_at_ms       INTEGER NOT NULL,
    -- Null: nobody holds it.
    lease_until_ms  INTEGER,
    fence           INTEGER NOT NULL,
    -- The earliest moment wanted by somebody else since this lease began; null: nobody asked. What
    -- the holder leaves as due_at_ms must not be later.
    wanted_at_ms    INTEGER,
    -- Null: Douyin was not called yet.
    attempted_at_ms INTEGER,
    attempts        INTEGER NOT NULL DEFAULT 0,
    backoff         INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX due_by_app ON due (app_id, due_at_ms);

-- The newest access token of each app.
CREATE TABLE token (
    app_id        TEXT    PRIMARY KEY,
    access_token  TEXT    NOT NULL,
    fetched_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One row that is rewritten to prove that a write can become durable.
CREATE TABLE proof_of_write (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    times INTEGER NOT NULL
) STRICT;
INSERT INTO proof_of_write (id, times) VALUES (1, 0);
