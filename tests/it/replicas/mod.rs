//! Several real gateway processes, one simulator and one PostgreSQL: what callers and watchers see
//! of a fleet whose members die, stand still and lose their database.
//!
//! Each test plays twice: as it is, and with `store.plain = true`, where only compare-and-swap is
//! left.

mod archive;
pub mod database;
mod deaths;
mod failover;
mod fleet;
mod load;
mod moves;
mod outages;
pub mod password;
mod pooler;
mod progress;
mod proxy;
mod shared;
mod together;
mod upgrade;
mod watchers;
