-- Version 1. The columns, words and JSON are those of SQLite's version 7 (src/store/rows.rs,
-- words.rs, json.rs), so that a settle can move from one to the other.
--
-- Times are milliseconds since the Unix epoch by the server's clock, or by a gateway's where the
-- settle itself tells them (create_time_ms, update_time_ms, contradiction_*_ms). Texts compare by
-- their bytes (COLLATE "C"), so that an upgrade of the server's C library breaks no index.

-- What all gateways on this database agree on. One row.
CREATE TABLE store_state (
    id             integer     PRIMARY KEY CHECK (id = 1),
    -- Schema versions: what this is, and the oldest gateway (by the version that it knows) that may
    -- use it.
    schema_version bigint      NOT NULL,
    oldest_reader  bigint      NOT NULL,
    -- How often the store went back to an earlier state, and when last. The version and the fence
    -- of a settle name the generation in which they were written: version / 2^32.
    generation     bigint      NOT NULL,
    begun_ms       bigint,
    -- JSON of the permission that stands for all that may have been sent before the generation.
    lost           text        COLLATE "C",
    -- The server on which this generation runs: which cluster, on which timeline of its log, and
    -- which process of it was looked at last. Null: the server does not tell.
    cluster        text        COLLATE "C",
    timeline       text        COLLATE "C",
    server_start   timestamptz NOT NULL
);

CREATE TABLE settle (
    id                        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    app_id                    text   COLLATE "C" NOT NULL,
    trade_system              text   COLLATE "C" NOT NULL,
    out_settle_no             text   COLLATE "C" NOT NULL,
    create_time_ms            bigint NOT NULL,
    -- The order under which it is listed: the request's, else the one that Douyin named.
    listed_order_no           text   COLLATE "C",

    version                   bigint NOT NULL,
    revision                  bigint NOT NULL,
    -- The version of the rules that wrote the row. A gateway does not write a row of newer rules.
    rules                     bigint NOT NULL,
    update_time_ms            bigint NOT NULL,
    origin                    text   COLLATE "C" NOT NULL,
    state                     text   COLLATE "C" NOT NULL,
    settle_id                 text   COLLATE "C",
    -- Whether the gateway must still query the settle although it is final.
    owes_query                boolean NOT NULL,
    contradiction_claimed     text   COLLATE "C",
    contradiction_settle_id   text   COLLATE "C",
    contradiction_source      text   COLLATE "C",
    contradiction_time_ms     bigint,
    -- When an operator decided about the contradiction. Null while it is open, or if there is none.
    contradiction_resolved_ms bigint,

    -- The schedule: when a worker looks at the settle again, and which one may.
    -- Null: never, because it is final and needs no query.
    due_at_ms                 bigint,
    -- Null: no worker holds it.
    lease_until_ms            bigint,
    -- Grows with each lease and never goes back.
    fence                     bigint NOT NULL,
    -- The earliest look that a caller or a callback asked for since this lease began, or null. When
    -- the holder gives the lease back, due_at_ms must not be later.
    wanted_at_ms              bigint,
    -- Null: Douyin has not been called yet.
    attempted_at_ms           bigint,
    attempts                  bigint NOT NULL,
    backoff                   bigint NOT NULL,

    -- JSON, or null. Text and not jsonb, which cannot hold every text that Douyin may say. A new
    -- field needs new rules or a migration, so that an older gateway does not write the row and
    -- drop the field.
    rejection                 text   COLLATE "C",
    last_error                text   COLLATE "C",
    evidence                  text   COLLATE "C",
    facts                     text   COLLATE "C",
    decision                  text   COLLATE "C",
    -- The caller's request and the exact bytes that are sent for it. Null: the settle was not made
    -- here.
    request                   text   COLLATE "C",
    body                      text   COLLATE "C",
    -- The entries of the first 16 revisions, one line of JSON each; the others are in late_history.
    history                   text   COLLATE "C" NOT NULL
)
-- A claim changes no indexed column: it stays within its page, if there is room. A settle is written
-- three or four times in its first seconds and hardly ever after that, so what these writes leave
-- behind is collected often, and in small portions, instead of after a fifth of all settles.
WITH (
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 1,
    autovacuum_analyze_scale_factor = 0.02
);

CREATE UNIQUE INDEX settle_by_key ON settle (app_id, trade_system, out_settle_no);
-- Douyin's systems number their settles independently.
CREATE UNIQUE INDEX settle_by_settle_id ON settle (app_id, trade_system, settle_id)
    WHERE settle_id IS NOT NULL;
-- For lists. A list of all states merges the states.
CREATE INDEX settle_by_state ON settle (app_id, state, create_time_ms, id);
CREATE INDEX settle_by_order ON settle (app_id, listed_order_no, create_time_ms, id)
    WHERE listed_order_no IS NOT NULL;
-- Open contradictions are few, and are looked for among all settles.
CREATE INDEX settle_by_open_contradiction ON settle (app_id, id)
    WHERE contradiction_claimed IS NOT NULL AND contradiction_resolved_ms IS NULL;
-- The schedule: only what is not at its end.
CREATE INDEX settle_by_due ON settle (app_id, due_at_ms, id) WHERE due_at_ms IS NOT NULL;

-- Later history entries of a settle with more than 16 revisions.
CREATE TABLE late_history (
    settle   bigint NOT NULL,
    revision bigint NOT NULL,
    entry    text   COLLATE "C" NOT NULL,
    PRIMARY KEY (settle, revision)
);

-- The newest access token of each app.
CREATE TABLE token (
    app_id        text   COLLATE "C" PRIMARY KEY,
    access_token  text   COLLATE "C" NOT NULL,
    fetched_at_ms bigint NOT NULL,
    expires_at_ms bigint NOT NULL
);

-- One row that is rewritten to prove that a write can become durable.
CREATE TABLE proof_of_write (
    id    integer PRIMARY KEY CHECK (id = 1),
    times bigint  NOT NULL
) WITH (fillfactor = 10);
INSERT INTO proof_of_write (id, times) VALUES (1, 0);
