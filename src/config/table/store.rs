//! The knobs of the database.

use super::super::Config;
use super::super::knobs::{Example, Knob, PATH, Rule, Slot};
use super::apps::{SECRET_FILE, VARIABLE};
use crate::store::PostgresAddress;

pub(super) const STORE: &[Knob<Config>] = &[
    Knob {
        key: "sqlite_path",
        slot: Slot::Path { of: |config| &mut config.sqlite.path },
        meaning: "The database file, relative to the working directory. `settlement-gateway init` \
                  makes it, and its folder if only that is missing; `serve` refuses to start \
                  without one. It must be on a local disk: the locks and the write-ahead log of \
                  SQLite do not work over network file systems. Mount its folder and never the \
                  file alone, and give it no second name (hard link). Beside it appear `-wal`, \
                  `-shm`, `.lock` and `.open`.",
    },
    Knob {
        key: "url",
        slot: Slot::Optional {
            of: |config| &mut config.store.url,
            rule: &Rule {
                unit: "address",
                bounds: "postgres://user@host:port/database, no password",
                check: |url| PostgresAddress::parse(url).map(drop).map_err(|bad| bad.to_string()),
            },
            example: Example::Inactive("postgres://gateway@db.example:5432/settlement"),
        },
        meaning: "A PostgreSQL database (13 or newer), which any number of gateways share, instead \
                  of the file of `sqlite_path`. `settlement-gateway init` makes the tables in it, \
                  once; the user must own them. The server proves itself by a certificate for its \
                  name (`sslmode=verify-full`), unless it is on this machine or the address ends \
                  with `?sslmode=disable`. Several hosts, separated by commas, are tried until one \
                  takes writes.",
    },
    Knob {
        key: "password_env",
        slot: Slot::Optional {
            of: |config| &mut config.store.password_env,
            rule: &VARIABLE,
            example: Example::Inactive("POSTGRES_PASSWORD"),
        },
        meaning: "The environment variable that holds the password for `url`.",
    },
    Knob {
        key: "password_file",
        slot: Slot::Optional {
            of: |config| &mut config.store.password_file,
            rule: &SECRET_FILE,
            example: Example::Inactive("/run/secrets/postgres-password"),
        },
        meaning: "The file that holds the password for `url`. It is read again for each new \
                  connection. A file that others may read gets a warning.",
    },
    Knob {
        key: "ca_file",
        slot: Slot::Optional {
            of: |config| &mut config.store.ca_file,
            rule: &Rule { unit: PATH, bounds: "PEM, at most 1 MiB", check: |_| Ok(()) },
            example: Example::Inactive("/etc/settlement-gateway/postgres-ca.pem"),
        },
        meaning: "Certificates of the authorities that may have signed the certificate of the \
                  server in `url`. They are trusted instead of those of the operating system.",
    },
    Knob {
        key: "connections_max",
        slot: Slot::Number {
            of: |config| &mut config.store.connections_max,
            unit: "connections",
            bounds: (2, 500),
        },
        meaning: "Connections of this gateway to the server in `url`. All gateways together must \
                  fit into the server's `max_connections`.",
    },
    Knob {
        key: "plain",
        slot: Slot::Switch {
            get: |config| config.store.plain,
            set: |config, plain| config.store.plain = plain,
        },
        meaning: "Whether the gateway does without prepared statements and `SKIP LOCKED`. A pooler \
                  that gives each transaction another connection (PgBouncer's transaction mode) \
                  needs this, and so may an engine that is only compatible with PostgreSQL. It \
                  costs speed and nothing else.",
    },
];
