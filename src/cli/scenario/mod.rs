//! The scenarios of the sandbox: a gateway, and a Douyin behind it, that are as unkind as the
//! contract permits. What is Douyin's doing is a script of the simulator. What a gateway, a proxy
//! or a network does is done by the front, which stands before a gateway that knows nothing of it.
//!
//! ```text
//!   client ──► front ──► gateway, as in production ──► simulator
//!                │ the course of a number: scripts          ▲
//!                └──────────────────────────────────────────┘
//! ```
//!
//! What it must not know: what a client under test is, and what it should have done.

mod act;
mod front;
mod message;
mod play;
mod table;

use clap::ValueEnum;

pub(super) use front::{Front, Others};
pub use play::Play;
pub(super) use table::markdown;

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Scenario {
    /// Streams end and break, and the settle changes meanwhile.
    Rotate,
    /// The gateway and Douyin are too busy to say what became of a create.
    Busy,
    /// Answers take longer than callers wait.
    Slow,
    /// Douyin refuses, for each of its reasons once.
    Refuse,
    /// Answers get lost after what they tell of has happened.
    Lost,
    /// The gateway is stopped or killed every few seconds, and started again.
    Restart,
}

impl Scenario {
    pub(super) fn name(self) -> String {
        let value = self.to_possible_value();
        value.expect("no scenario is hidden").get_name().to_owned()
    }
}
