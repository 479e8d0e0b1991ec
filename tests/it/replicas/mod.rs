//! Several real gateway processes, one simulator and one PostgreSQL: what callers and watchers see
//! of a fleet whose members die, stand still and lose their database.
//!
//! What stands on claims, leases or hints plays twice: as it is, and with `store.plain = true`,
//! where only compare-and-swap is left. The failover under load plays in the mode that its seed
//! says. What concerns a pooler, the file of the password or a command plays once.

mod archive;
pub mod database;
mod deaths;
mod failover;
mod fleet;
mod frozen;
mod load;
mod moves;
mod outages;
pub mod password;
mod pooler;
mod progress;
mod proxy;
mod shared;
mod together;
mod unseen;
mod upgrade;
mod watchers;
