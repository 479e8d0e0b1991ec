//! The executable: command line → configuration → logs → build → run → how it ended.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use settlement_gateway::app::{App, Stopped};
use settlement_gateway::cli::{Cli, Command, Serve};
use settlement_gateway::clock::Clock;
use settlement_gateway::{setup, telemetry};

/// The conventional exit code of a configuration that cannot be used (EX_USAGE).
const EX_USAGE: u8 = 64;

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(serve) => {
            telemetry::start();
            let runtime = tokio::runtime::Runtime::new();
            runtime.expect("the operating system grants threads and timers").block_on(run(serve))
        }
    }
}

async fn run(serve: Serve) -> ExitCode {
    let setup = match setup::prepare(serve).await {
        Ok(setup) => setup,
        Err(problem) => return refuse(&problem, ExitCode::from(EX_USAGE)),
    };
    let app = match App::build(setup.config, Clock::system()).await {
        Ok(app) => app,
        Err(problem) => return refuse(&problem, ExitCode::FAILURE),
    };
    // Whoever started us may have closed our output; that is no reason not to serve.
    let _ = std::io::stdout().write_all((setup.banner)(app.addr()).as_bytes());
    match app.run(signal()).await {
        Stopped::Gracefully => ExitCode::SUCCESS,
        Stopped::Hard => ExitCode::FAILURE,
    }
}

fn refuse(problem: &dyn std::error::Error, code: ExitCode) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "settlement-gateway: {problem}");
    code
}

/// The first SIGTERM or SIGINT; a second one ends the process at once.
async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).expect("SIGTERM can be handled");
    let mut interrupt = signal(SignalKind::interrupt()).expect("SIGINT can be handled");
    let mut either = async move || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    either().await;
    let at_once = async move {
        either().await;
        #[expect(clippy::exit, reason = "whoever asks twice wants no drain")]
        std::process::exit(1);
    };
    #[expect(clippy::disallowed_methods, reason = "ends with the process, which it may end")]
    tokio::spawn(at_once);
}
