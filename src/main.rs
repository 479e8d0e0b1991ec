//! The executable: command line → configuration → logs → build → run → exit code.

use std::process::ExitCode;

use clap::Parser as _;
use settlement_gateway::cli::pulse::Pulse;
use settlement_gateway::cli::setup;
use settlement_gateway::cli::{self, Cli, Command, Serve};
use settlement_gateway::clock::Clock;
use settlement_gateway::reload;
use settlement_gateway::server::{Server, Stopped};
use settlement_gateway::systemd::Systemd;
use settlement_gateway::telemetry::Log;

/// Gives memory of a peak back to the operating system, which glibc does not.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match Cli::try_parse().map(|cli| cli.command) {
        Ok(Command::Serve(serve)) => wait_for(async {
            let mut log = Log::start();
            let code = run(serve, &log).await;
            log.export_rest().await;
            code
        }),
        Ok(Command::Init(init)) => wait_for(init.run()),
        Ok(Command::CheckConfig(check_config)) => check_config.run(),
        Ok(Command::NewToken(new_token)) => new_token.run(),
        Ok(Command::Descriptor(descriptor)) => descriptor.run(),
        Ok(Command::Errors(errors)) => errors.run(),
        Ok(Command::Healthcheck(healthcheck)) => wait_for(healthcheck.run()),
        Ok(Command::CheckCallback(check_callback)) => check_callback.run(),
        Ok(Command::Settle(settle)) => wait_for(settle.run()),
        Ok(Command::Restored(restored)) => wait_for(restored.run()),
        Ok(Command::Export(export)) => wait_for(export.run()),
        Ok(Command::Import(import)) => wait_for(import.run()),
        #[cfg(feature = "sandbox")]
        Ok(Command::Simulate(simulate)) => wait_for(async {
            let _log = Log::start();
            simulate.run().await
        }),
        #[cfg(feature = "sandbox")]
        Ok(Command::Conformance(conformance)) => wait_for(conformance.run()),
        Err(error) => cli::explain(error),
    }
}

fn wait_for(command: impl Future<Output = ExitCode>) -> ExitCode {
    let runtime = tokio::runtime::Runtime::new();
    let runtime = runtime.expect("the operating system grants threads and timers");
    let code = runtime.block_on(command);
    // What still runs waits for a disk that hangs, and must not be waited for.
    runtime.shutdown_background();
    code
}

async fn run(serve: Serve, log: &Log) -> ExitCode {
    let hangups = setup::outlive_signals();
    #[cfg(feature = "sandbox")]
    let scenario = serve.scenario;
    let setup = match setup::prepare(serve).await {
        Ok(setup) => setup,
        Err(problem) => return refuse(log, &problem, problem.exit_code()),
    };
    #[cfg(feature = "sandbox")]
    if let Some(scenario) = scenario {
        let played = setup::sandbox::play(scenario, setup, setup::stop_signal());
        let played = Box::pin(played).await;
        return played.map_or_else(|problem| refuse(log, &problem, ExitCode::FAILURE), code_of);
    }
    let server = match Server::build(setup.config, Clock::system()).await {
        Ok(server) => server,
        Err(problem) => return refuse(log, &problem, ExitCode::FAILURE),
    };
    #[cfg(feature = "sandbox")]
    if setup.simulator.is_some() {
        setup::sandbox::tell_of_earlier_run(&server).await;
    }
    let systemd = match Systemd::of_process() {
        Ok(systemd) => systemd,
        Err(problem) => return refuse(log, &problem, ExitCode::FAILURE),
    };
    let stop = setup::stop_signal();
    let stop = async {
        stop.await;
        systemd.is_stopping();
    };
    cli::announce((setup.announce)(server.addrs()));
    let (parts, pulse) = (server.parts(), Pulse::of(&server));
    let reloading = async {
        match setup.loader {
            Some(loader) => reload::run(loader, parts, systemd.clone(), hangups).await,
            None => reload::ignore(hangups).await,
        }
    };
    let stopped = tokio::select! {
        stopped = server.run(stop) => stopped,
        never = reloading => match never {},
        never = pulse.tell(&systemd) => match never {},
    };
    code_of(stopped)
}

fn code_of(stopped: Stopped) -> ExitCode {
    match stopped {
        Stopped::Gracefully => ExitCode::SUCCESS,
        Stopped::Hard | Stopped::Broken { .. } => ExitCode::FAILURE,
    }
}

fn refuse(log: &Log, problem: &dyn std::error::Error, code: ExitCode) -> ExitCode {
    log.complain(problem);
    code
}
