//! The knobs of the database.

use super::super::knobs::{Knob, Slot};
use super::super::{Config, MINUTE};

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
        key: "sqlite_queue_jobs_max",
        slot: Slot::Count {
            of: |config| &mut config.sqlite.queue_jobs_max,
            unit: "writes",
            // With room for a few only, polls that step together starve each other for ever.
            bounds: (64, 1_000_000),
        },
        meaning: "Writes that may wait for the writer. One more gets `STORE_UNAVAILABLE` at once.",
    },
    Knob {
        key: "sqlite_batch_jobs_max",
        slot: Slot::Count {
            of: |config| &mut config.sqlite.batch_jobs_max,
            unit: "writes",
            bounds: (1, 10_000),
        },
        meaning: "Writes in one transaction, which costs one flush of the disk.",
    },
    Knob {
        key: "sqlite_readers",
        slot: Slot::Number {
            of: |config| &mut config.sqlite.readers,
            unit: "connections",
            bounds: (1, 256),
        },
        meaning: "Connections for reading.",
    },
    Knob {
        key: "sqlite_reads_max",
        slot: Slot::Count {
            of: |config| &mut config.sqlite.reads_max,
            unit: "reads",
            bounds: (1, 1_000_000),
        },
        meaning: "Reads that may wait or run. One more gets `STORE_UNAVAILABLE` at once.",
    },
    Knob {
        key: "sqlite_busy_wait_ms",
        slot: Slot::Ms { of: |config| &mut config.sqlite.busy_wait, bounds: (0, MINUTE) },
        meaning: "How long to wait for another program (a shell, a backup) that holds the \
                  database.",
    },
    Knob {
        key: "sqlite_check_time_max_ms",
        slot: Slot::Ms { of: |config| &mut config.sqlite.check_time_max, bounds: (0, 10 * MINUTE) },
        meaning: "How long the check of an existing database may take at start. What it has not \
                  read by then is not checked.",
    },
];
