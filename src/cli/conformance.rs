//! `conformance`: runs a client program through the scenarios, each against a gateway and a
//! simulator of its own, and compares what it reports with the simulator's books.
//!
//! What it must not know: how a scenario is unkind.

mod client;
mod verdict;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum as _};
use douyin_sim::{ItemSetup, OrderSetup, Simulator};
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::client::{Ended, Intent};
use self::verdict::{Verdict, judge};
use super::scenario::{self, Front, Others, Play, Scenario};
use super::setup::sandbox::{APP_ID, Sandbox, anew, tell_console};
use super::{complain, print};
use crate::config::{Environment, Flags};
use crate::server::Addrs;

/// What one use of an order's card is worth. In fen.
const USE_FEN: i64 = 1_000;
/// How often the card of an order can be used: an intent may be paid so often, wrongly.
const USES_MAX: u32 = 1_000;

#[derive(Debug, Args)]
pub struct Conformance {
    /// The command that runs the client once, as a shell takes it. It pays one order under one
    /// number, both of which it finds in variables (docs/testing-your-client.md).
    #[arg(long, value_name = "COMMAND", required_unless_present = "print_scenarios")]
    client: Option<String>,
    /// Only this scenario; may be repeated.
    #[arg(long = "scenario", value_name = "NAME")]
    scenarios: Vec<Scenario>,
    /// How many clients run at once.
    #[arg(long, value_name = "NUMBER", default_value_t = 8)]
    at_once: usize,
    /// How long one run of the client may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    seconds: u64,
    /// Prints what each scenario does instead, as the table of docs/testing-your-client.md.
    #[arg(long, exclusive = true)]
    print_scenarios: bool,
}

/// What a run of the client is told, and what came of it.
struct Tried {
    what: String,
    ended: Ended,
    verdict: Verdict,
}

impl Conformance {
    pub async fn run(self) -> ExitCode {
        let Some(command) = &self.client else {
            print(&scenario::markdown());
            return ExitCode::SUCCESS;
        };
        let scenarios = match self.scenarios.as_slice() {
            [] => Scenario::value_variants(),
            some => some,
        };
        let mut wrong = Vec::new();
        for scenario in scenarios {
            let name = scenario.name();
            print(&format!("{name}\n"));
            let tried = match Box::pin(self.play(command, *scenario)).await {
                Ok(tried) => tried,
                Err(problem) => {
                    complain(format_args!("{name}: {problem}"));
                    return ExitCode::FAILURE;
                }
            };
            print(&tried.iter().map(Tried::line).collect::<String>());
            if tried.iter().any(|tried| tried.verdict.is_wrong()) {
                wrong.push(name);
            }
        }
        if wrong.is_empty() {
            print(&format!("passed: {} scenarios\n", scenarios.len()));
            return ExitCode::SUCCESS;
        }
        let (failed, all) = (wrong.len(), scenarios.len());
        print(&format!("FAILED: {failed} of {all} scenarios: {}\n", wrong.join(", ")));
        ExitCode::FAILURE
    }

    /// Runs the client once for each course of the scenario.
    async fn play(&self, command: &str, scenario: Scenario) -> Result<Vec<Tried>, String> {
        let dir = Folder::new(scenario).map_err(|error| format!("no folder: {error}"))?;
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let flags = Flags { grpc_addr: Some(any_port), database: Some(dir.0.join("sandbox.db")) };
        let plan = scenario.plan();
        let sandbox = Sandbox::start(Environment::of_process(), flags, Some(plan.processing_ms));
        let sandbox = Box::pin(sandbox).await.map_err(|error| error.to_string())?;
        let Sandbox { config, simulator } = sandbox;
        let whats: Vec<_> = plan.courses.iter().map(|course| course.what.clone()).collect();
        let front = Front::new(plan, simulator.clone(), APP_ID, Others::AreSpared);
        let play = Play::new(front.clone(), any_port).await.map_err(|error| error.to_string())?;
        let (up, is_up) = oneshot::channel();
        let (mut up, console) = (Some(up), simulator.clone());
        let started = move |addrs: Addrs| {
            tell_console(&console, addrs);
            if let Some(up) = up.take() {
                // The clients may have been given up.
                let _ = up.send(addrs.grpc);
            }
        };
        let over = CancellationToken::new();
        let gateway = Box::pin(play.run(|| anew(&config), started, over.cancelled()));
        let trial = Trial { command, scenario, dir: &dir.0, simulator: &simulator };
        let clients = async {
            let _over = over.clone().drop_guard();
            // Without a gateway, that one says why.
            let Ok(addr) = is_up.await else { return Vec::new() };
            for course in 0..whats.len() {
                front.assign(&trial.intent(course, addr).out_settle_no, course);
            }
            trial.run(whats, addr, self).await
        };
        let (gateway, tried) = tokio::join!(gateway, clients);
        gateway.map_err(|error| error.to_string())?;
        Ok(tried)
    }
}

/// One scenario, played to a client.
struct Trial<'a> {
    command: &'a str,
    scenario: Scenario,
    dir: &'a Path,
    simulator: &'a Simulator,
}

impl Trial<'_> {
    fn intent(&self, course: usize, addr: SocketAddr) -> Intent {
        let name = format!("{}-{}", self.scenario.name(), course + 1);
        Intent {
            addr,
            app_id: APP_ID,
            out_order_no: format!("order-{name}"),
            out_settle_no: format!("settle-{name}"),
        }
    }

    /// Runs the client once for each course, several at once.
    async fn run(&self, whats: Vec<String>, addr: SocketAddr, limits: &Conformance) -> Vec<Tried> {
        let (tasks, places) = (TaskTracker::new(), Arc::new(Semaphore::new(limits.at_once.max(1))));
        let intents = whats.into_iter().enumerate();
        let clients: Vec<_> = intents
            .map(|(course, what)| {
                let intent = self.intent(course, addr);
                // So that a client can pay twice if it is wrong.
                refill(self.simulator, &intent.out_order_no);
                let log = self.dir.join(&intent.out_settle_no);
                let (simulator, places) = (self.simulator.clone(), Arc::clone(&places));
                let command = self.command.to_owned();
                let time_max = Duration::from_secs(limits.seconds);
                tasks.spawn(async move {
                    let _place = places.acquire().await;
                    let ended = client::run(&command, &intent, &log, time_max).await;
                    let verdict = judge(&intent, &ended, &simulator).await;
                    Tried { what, ended, verdict }
                })
            })
            .collect();
        let refilled = async {
            let mut seen = 0;
            loop {
                let books = self.simulator.until(|books| books.settles.len() > seen).await;
                seen = books.settles.len();
                books.settles.iter().for_each(|it| refill(self.simulator, &it.out_order_no));
            }
        };
        let ended = async {
            let mut tried = Vec::new();
            for client in clients {
                tried.extend(client.await);
            }
            tried
        };
        tokio::select! {
            tried = ended => tried,
            never = refilled => never,
        }
    }
}

/// Makes an order worth one more settle than it has. A card that is used once more after each
/// settle is one that Douyin settles again and again, so a client that takes a second number where
/// it must not is not stopped by an empty order.
fn refill(simulator: &Simulator, out_order_no: &str) {
    let books = simulator.books();
    let settles = books.settles.iter().filter(|settle| settle.out_order_no == out_order_no);
    let uses = u32::try_from(settles.count() + 1).unwrap_or(USES_MAX).min(USES_MAX);
    let total_fen = USE_FEN * i64::from(USES_MAX);
    let items = Some(vec![ItemSetup::card("card", total_fen, uses, USES_MAX)]);
    let order = OrderSetup { total_fen, items, ..OrderSetup::default() };
    simulator.set_order(APP_ID, out_order_no, order);
}

impl Tried {
    /// A line for people, and what a client printed that is wrong.
    fn line(&self) -> String {
        let Self { what, ended, verdict } = self;
        let mark = if verdict.is_wrong() { "WRONG" } else { "right" };
        let line = format!("  {mark}  {what}: {verdict}; the client said {ended}\n");
        if !verdict.is_wrong() {
            return line;
        }
        let printed = ended.printed.lines().map(|line| format!("         | {line}\n"));
        line + &printed.collect::<String>()
    }
}

/// A folder that is removed with what is in it.
struct Folder(PathBuf);

impl Folder {
    fn new(scenario: Scenario) -> std::io::Result<Self> {
        let name = format!("settlement-conformance-{}-{}", std::process::id(), scenario.name());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed stays where temporary files are.
        let _ = fs::remove_dir_all(&self.0);
    }
}
