//! `new-token`: makes a token for a caller, and the lines of the configuration that know it.

use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use ring::rand::{SecureRandom as _, SystemRandom};

use super::{complain, print};
use crate::callers::Fingerprint;
use crate::settle::CallerName;

/// More than can be guessed, by far.
const RANDOM_BYTES: usize = 32;
/// So that a token is told from its hash, and found where it must not stand.
const PREFIX: &str = "sg_";

#[derive(Debug, Args)]
pub struct NewToken {
    /// The caller's name in the lines that are printed.
    #[arg(default_value = "shop", value_parser = name)]
    name: CallerName,
}

fn name(text: &str) -> Result<CallerName, String> {
    CallerName::parse(text).map_err(|invalid| invalid.to_string())
}

impl NewToken {
    pub fn run(&self) -> ExitCode {
        let mut bytes = [0; RANDOM_BYTES];
        if SystemRandom::new().fill(&mut bytes).is_err() {
            complain("the operating system has no random numbers");
            return ExitCode::FAILURE;
        }
        let token = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
        let (name, hash) = (self.name.as_str(), Fingerprint::of(&token));
        // The first line is no TOML, so that the token cannot stay in a file by mistake.
        print(&format!(
            "{token}\n\n\
             The line above is the token: give it to the caller, it is not shown again. The\n\
             configuration has only its hash:\n\n\
             [[callers]]\nname = {name:?}\nrights = [\"create\", \"read\"]\n\
             token_sha256 = [\"{hash}\"]\n"
        ));
        ExitCode::SUCCESS
    }
}
