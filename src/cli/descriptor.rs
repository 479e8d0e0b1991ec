//! `descriptor`: the compiled contract, for programs that have no sources of it.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::Args;

use super::complain;
use crate::proto::DESCRIPTOR_SET;

#[derive(Debug, Args)]
pub struct Descriptor {}

impl Descriptor {
    pub fn run(&self) -> ExitCode {
        let mut out = std::io::stdout();
        if out.is_terminal() {
            complain("it is binary: send it to a file, as in `descriptor > settlement.binpb`");
            return ExitCode::from(super::EX_USAGE);
        }
        match out.write_all(DESCRIPTOR_SET).and_then(|()| out.flush()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain(error);
                ExitCode::FAILURE
            }
        }
    }
}
