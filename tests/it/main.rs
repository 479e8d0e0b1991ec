//! The specification as tests, at the edges: a real gRPC client, a real HTTP upstream (the
//! simulator), a real SQLite file. One file per behaviour.

#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "tests spawn, kill and abort on purpose")]

mod create;
mod deadlines;
mod exists;
mod harness;
mod kill;
mod lost_answers;
mod repeat;
mod stop;
mod tidy;
mod tokens;
mod validation;
mod watch;
