//! The specification as tests, at the edges: a real gRPC client, a real HTTP upstream (the
//! simulator), a real SQLite file. One file per behaviour.

#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "tests spawn, kill and abort on purpose")]

mod admin;
mod apps;
mod backlog;
mod callbacks;
mod callers;
mod clock_jumps;
mod commands;
mod config;
mod container;
mod create;
mod credentials;
mod databases;
mod deadlines;
mod egress;
mod envelopes;
mod errors_docs;
mod errors_douyin;
mod errors_own;
mod errors_stack;
mod errors_truth;
mod exists;
mod full_disk;
mod harness;
mod health;
mod hostile;
mod in_doubt;
mod kill;
mod kills;
mod limits;
mod list;
mod log_pipes;
mod logs;
mod lookups;
mod lost_answers;
mod mark;
mod odd_answers;
mod operator;
mod polling;
mod printed;
mod process;
mod query;
mod raw;
mod reflection;
mod reload;
mod repeat;
mod requests;
mod restored;
mod return_when;
mod sandbox;
mod signals;
mod stop;
mod store_faults;
mod tidy;
mod tls;
mod tokens;
mod told;
mod trailers;
mod undocumented;
mod validation;
mod wait;
mod watch;
