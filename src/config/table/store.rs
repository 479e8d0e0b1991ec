//! The knobs of the database.

use super::super::Config;
use super::super::knobs::{Knob, Slot};

pub(super) const STORE: &[Knob<Config>] = &[Knob {
    key: "sqlite_path",
    slot: Slot::Path { of: |config| &mut config.sqlite.path },
    meaning: "The database file, relative to the working directory. `settlement-gateway init` \
                  makes it, and its folder if only that is missing; `serve` refuses to start \
                  without one. It must be on a local disk: the locks and the write-ahead log of \
                  SQLite do not work over network file systems. Mount its folder and never the \
                  file alone, and give it no second name (hard link). Beside it appear `-wal`, \
                  `-shm`, `.lock` and `.open`.",
}];
