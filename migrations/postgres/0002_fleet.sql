-- Version 2: what gateways on one database share beside settles (src/store/fleet.rs). All of it is
-- small and rewritten in place; none of it is needed to know what is true.

-- The gateways that are alive, and those that ended without a word a moment ago.
CREATE TABLE replica (
    -- The bits of the random number that names the process.
    process  bigint PRIMARY KEY,
    -- Grows with each beat. Gateways compare it with what they saw before, never with a time.
    beats    bigint NOT NULL,
    -- The settings that all must agree on.
    settings text   COLLATE "C" NOT NULL
) WITH (fillfactor = 20, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0);

-- The last pause of each app that a gateway told of.
CREATE TABLE pause (
    app_id  text   COLLATE "C" PRIMARY KEY,
    -- Grows with each pause that is told.
    number  bigint NOT NULL,
    over_ms bigint NOT NULL,
    -- JSON.
    failure text   COLLATE "C" NOT NULL
);

-- Which gateway fetches the token of an app.
CREATE TABLE token_turn (
    app_id   text   COLLATE "C" PRIMARY KEY,
    fence    bigint NOT NULL,
    until_ms bigint NOT NULL
);
