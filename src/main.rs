//! The executable: command line → configuration → logs → build → run → how it ended.

use std::process::ExitCode;

use clap::Parser as _;
use settlement_gateway::app::{App, Stopped};
use settlement_gateway::cli::{self, Cli, Command, Serve};
use settlement_gateway::clock::Clock;
use settlement_gateway::{setup, telemetry};

fn main() -> ExitCode {
    match Cli::try_parse().map(|cli| cli.command) {
        Ok(Command::Serve(serve)) => {
            telemetry::start();
            wait_for(run(serve))
        }
        Ok(Command::CheckConfig(check_config)) => check_config.run(),
        Ok(Command::Errors(errors)) => errors.run(),
        Ok(Command::Healthcheck(healthcheck)) => wait_for(healthcheck.run()),
        Ok(Command::CheckCallback(check_callback)) => check_callback.run(),
        Ok(Command::ResolveContradiction(resolve)) => wait_for(resolve.run()),
        #[cfg(feature = "sandbox")]
        Ok(Command::Simulate(simulate)) => {
            telemetry::start();
            wait_for(simulate.run())
        }
        Err(error) => cli::explain(&error),
    }
}

fn wait_for(command: impl Future<Output = ExitCode>) -> ExitCode {
    let runtime = tokio::runtime::Runtime::new();
    runtime.expect("the operating system grants threads and timers").block_on(command)
}

async fn run(serve: Serve) -> ExitCode {
    let setup = match setup::prepare(serve).await {
        Ok(setup) => setup,
        Err(problem) => return refuse(&problem, problem.exit_code()),
    };
    let app = match App::build(setup.config, Clock::system()).await {
        Ok(app) => app,
        Err(problem) => return refuse(&problem, ExitCode::FAILURE),
    };
    let stop = setup::stop_signal();
    cli::print(&(setup.announce)(app.addrs()));
    match app.run(stop).await {
        Stopped::Gracefully => ExitCode::SUCCESS,
        Stopped::Hard => ExitCode::FAILURE,
    }
}

fn refuse(problem: &dyn std::error::Error, code: ExitCode) -> ExitCode {
    cli::complain(problem);
    code
}
