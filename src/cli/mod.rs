//! The command line, and the commands that print something and end. What `serve` runs is in
//! [`setup`] and [`crate::server`].

pub(crate) mod check_callback;
pub(crate) mod check_config;
#[cfg(feature = "sandbox")]
pub(crate) mod conformance;
mod connect;
mod database;
pub(crate) mod descriptor;
pub(crate) mod errors;
pub(crate) mod export;
pub(crate) mod healthcheck;
pub(crate) mod import;
pub(crate) mod init;
pub(crate) mod new_token;
mod progress;
pub mod pulse;
pub(crate) mod restored;
#[cfg(feature = "sandbox")]
pub mod scenario;
pub(crate) mod settle;
pub mod setup;
#[cfg(feature = "sandbox")]
pub(crate) mod simulate;

use std::fmt;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::config::Source;

/// A gRPC gateway to Douyin's settlement (分账, profit sharing) that never loses or doubles a
/// settle.
///
/// Every key of the configuration can also be set by a variable, which beats the file:
/// SETTLEMENT_SERVER_GRPC_ADDR is grpc_addr of the table server. An option beats both. Secrets come
/// from files or variables that the configuration names, never from an option.
#[derive(Debug, Parser)]
#[command(name = "settlement-gateway", version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Makes the database, once in the life of an installation. Refuses if there is one, and
    /// changes nothing then. Exit code 0 if it was made, 1 if not.
    Init(init::Init),
    /// Runs the gateway on the database that there is.
    Serve(Serve),
    /// Reads the configuration as `serve` would, and reports all mistakes in it. Changes
    /// nothing and opens no database. Exit code 0 if it is right, 64 if not.
    CheckConfig(check_config::CheckConfig),
    /// Makes a token for a caller. Prints the token, which is shown only once, and the lines of the
    /// configuration that know it by its hash.
    NewToken(new_token::NewToken),
    /// Prints the compiled contract (a FileDescriptorSet), for Envoy, grpcurl and other programs
    /// that have no sources of it.
    Descriptor(descriptor::Descriptor),
    /// Prints every error that callers can get: Douyin's numbers and the gateway's own reasons.
    Errors(errors::Errors),
    /// Asks a gateway by grpc.health.v1 whether it serves. Exit code 0 only if it says SERVING
    /// within 2 s.
    Healthcheck(healthcheck::Healthcheck),
    /// Checks a saved callback against a platform public key, and shows what it says. Changes
    /// nothing and sends nothing. Exit code 0 if it would be accepted, 1 if not.
    CheckCallback(check_callback::CheckCallback),
    /// Shows, follows, creates and decides settles at a running gateway, over gRPC.
    Settle(Box<settle::Settle>),
    /// Tells a restored database that it is a backup, before a gateway opens it: what is open in it
    /// is never sent again, because what was committed after the backup is not known any more.
    Restored(restored::Restored),
    /// Writes all settles of a database into a file, for `import` into another database, and closes
    /// the database: `serve` refuses it from then on. Exit code 0 if the file is complete, 1 if
    /// not.
    Export(export::Export),
    /// Puts all settles of a file that `export` wrote into an empty database, or none of them. Exit
    /// code 0 if all are in it, 1 if not.
    Import(import::Import),
    /// Runs the Douyin simulator by itself: no account, no money.
    #[cfg(feature = "sandbox")]
    Simulate(simulate::Simulate),
    /// Runs a client program through the scenarios of `serve --sandbox --scenario`, and tells
    /// whether it pays each intent exactly once and reports the truth. Exit code 0 if so, 1 if not.
    #[cfg(feature = "sandbox")]
    Conformance(conformance::Conformance),
}

/// Where the configuration is.
#[derive(Debug, Args)]
pub struct ConfigFile {
    /// The configuration file (TOML). Without one, the environment must say everything that is
    /// required.
    #[arg(long, value_name = "FILE", env = "SETTLEMENT_CONFIG", global = true)]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Serve {
    #[command(flatten)]
    pub file: ConfigFile,
    /// Runs against a Douyin simulator in this process: no account, no money.
    #[cfg(feature = "sandbox")]
    #[arg(long, conflicts_with = "config")]
    pub sandbox: bool,
    /// Begins the sandbox anew: removes its database first. Removes no other one.
    #[cfg(feature = "sandbox")]
    #[arg(long, requires = "sandbox")]
    pub fresh: bool,
    /// Makes the sandbox as unkind as the contract permits, to test clients against
    /// (docs/testing-your-client.md). It begins anew then, as with --fresh.
    #[cfg(feature = "sandbox")]
    #[arg(long, value_name = "NAME", requires = "sandbox")]
    pub scenario: Option<scenario::Scenario>,
    /// Where gRPC listens; overrides the configuration.
    #[arg(long, value_name = "ADDR")]
    pub grpc_addr: Option<SocketAddr>,
    /// The folder of the database; overrides the configuration.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

impl ConfigFile {
    pub fn source(&self) -> Source<'_> {
        self.config.as_deref().map_or(Source::None, Source::Path)
    }
}

/// The conventional exit code of a command line or a configuration that cannot be used.
pub const EX_USAGE: u8 = 64;
/// How long a command that failed waits until its complaint is printed.
const TELL_MAX: Duration = Duration::from_secs(2);

/// Says what is wrong with the command line, or prints the help or the version.
pub fn explain(error: clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // If the reader has closed our output, it does not read this.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    tell(move || drop(error.print()));
    ExitCode::from(EX_USAGE)
}

/// Prints what `serve` prints when it begins. It waits for no reader: standard output may be a pipe
/// whose reader stands still.
pub fn announce(text: String) {
    let thread = thread::Builder::new().name("banner".to_owned());
    // The thread ends with the process and does not delay it. Without a thread there is no banner.
    let _ = thread.spawn(move || print(&text));
}

/// Prints the output of a command. If the reader has closed our output, it does not read this.
pub fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Says why a command failed.
pub fn complain(problem: impl fmt::Display) {
    complain_to_programs(format!("settlement-gateway: {problem}"));
}

/// Says why a command failed, in a form that programs read.
fn complain_to_programs(mut text: String) {
    text.push('\n');
    tell(move || drop(std::io::stderr().write_all(text.as_bytes())));
}

/// Prints to standard error for a limited time: the exit code says the same, and a pipe whose
/// reader stands still must not delay it.
fn tell(print: impl FnOnce() + Send + 'static) {
    let (done, printed) = mpsc::sync_channel(1);
    let print = move || {
        print();
        let _ = done.send(());
    };
    if thread::Builder::new().name("complaint".to_owned()).spawn(print).is_ok() {
        let _ = printed.recv_timeout(TELL_MAX);
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    /// The variable has its name in two places, because an attribute takes no constant of another
    /// module.
    #[test]
    fn the_variable_of_the_file_is_the_one_that_the_configuration_knows() {
        let command = Cli::command();
        let serve = command.find_subcommand("serve").unwrap();
        let config = serve.get_arguments().find(|argument| argument.get_id() == "config").unwrap();
        assert_eq!(config.get_env().unwrap(), crate::config::CONFIG_VARIABLE);
    }
}
