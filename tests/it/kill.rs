//! The process dies (SIGKILL) at any point around the first send. Restarted on the same files, it
//! finishes every settle, and the simulator's books show each intent paid once.

use std::path::Path;
use std::process::Stdio;

use douyin_sim::{Gate, Script, Simulator, Snapshot};
use settlement_gateway::proto::v1::settlement_service_client::SettlementServiceClient;
use settlement_gateway::proto::v1::watch_settle_response::Event;
use settlement_gateway::proto::v1::{self, SettleState};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use crate::harness::{
    APP_ID, SECRET, create_on, create_request, number, simulator, watch_request, within,
};
use crate::process::init_if_new;

/// How many creates a round sends, in the test that kills again and again.
const LOAD: usize = 20;

/// A gateway in a process of its own.
struct Process {
    child: Child,
    client: SettlementServiceClient<Channel>,
}

impl Process {
    async fn start(sim: &Simulator, dir: &Path) -> Self {
        let file = dir.join("gateway.toml");
        let text = format!(
            "rehearsal = true\ndefault_app = \"{APP_ID}\"\n\
             [server]\ngrpc_addr = \"127.0.0.1:0\"\nadmin_addr = \"127.0.0.1:0\"\n\
             drain_delay_ms = 0\n\
             [store]\nsqlite_path = \"{}\"\n\
             [douyin]\nbase_url = \"{}\"\nconnect_timeout_ms = 500\nattempt_timeout_ms = 700\n\
             call_timeout_ms = 1500\n\
             [settle]\nvisibility_grace_ms = 500\npoll_first_ms = 50\npoll_cap_ms = 300\n\
             poll_watched_cap_ms = 100\nlease_ms = 4000\n\
             [[apps]]\napp_id = \"{APP_ID}\"\nclient_secret_env = \"TEST_SECRET\"\n",
            dir.join("settlement.db").display(),
            sim.url(),
        );
        std::fs::write(&file, text).unwrap();
        init_if_new(&file, &dir.join("settlement.db"));
        let mut child = Command::new(env!("CARGO_BIN_EXE_settlement-gateway"))
            .args(["serve", "--config"])
            .arg(&file)
            .env("TEST_SECRET", SECRET)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let addr = async {
            loop {
                let line = lines.next_line().await.unwrap().expect("it prints where it listens");
                if let Some((_, addr)) = line.split_once("gRPC ") {
                    return addr.trim().to_owned();
                }
            }
        };
        let url = format!("http://{}", within("the address", addr).await);
        let channel = Endpoint::from_shared(url).unwrap().connect_lazy();
        Self { child, client: SettlementServiceClient::new(channel) }
    }

    /// SIGKILL: no handler runs, nothing is flushed.
    async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Sends a create and does not wait for its answer.
    fn create(&self, request: v1::CreateSettleRequest) {
        let mut client = self.client.clone();
        // Its process is killed: the call ends with that.
        drop(tokio::spawn(async move { client.create_settle(request).await }));
    }

    /// Watches from a revision to the end. A lookup may come before the restart is done.
    async fn end(&self, number: &str, after_revision: i64) -> Vec<v1::Settle> {
        let mut client = self.client.clone();
        let request = watch_request(number, after_revision);
        let watching = async {
            let mut stream = client.watch_settle(request).await.unwrap().into_inner();
            let mut settles = Vec::new();
            while let Some(message) = stream.message().await.unwrap() {
                if let Some(Event::Settle(settle)) = message.event {
                    settles.push(settle);
                }
            }
            settles
        };
        within("the end", watching).await
    }
}

async fn assert_finished_and_paid_once(process: &Process, sim: &Simulator, number: &str) {
    let settles = process.end(number, 0).await;
    assert_eq!(settles.last().unwrap().state(), SettleState::Succeeded);
    let books = sim.books();
    assert_eq!(books.under(number).len(), 1, "{:?}", books.under(number));
    let bodies = books.create_bodies(number);
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test]
async fn killed_between_insert_and_first_send_it_sends_after_the_restart() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let gateway = Process::start(&sim, dir.path()).await;
    // The first send needs a token, and the token does not come: the intent is durable by then.
    sim.script_token(vec![Script::Hang]);
    let number = number("before-send");
    gateway.create(create_request(&number));
    within("the token call", sim.until(|books| books.token_calls_total() == 1)).await;
    gateway.kill().await;
    assert_eq!(sim.books().sends(&number), 0);
    let gateway = Process::start(&sim, dir.path()).await;
    assert_finished_and_paid_once(&gateway, &sim, &number).await;
}

#[tokio::test]
async fn killed_before_douyin_takes_the_send_it_finishes_after_the_restart() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let gateway = Process::start(&sim, dir.path()).await;
    let number = number("before-answer");
    let gate = Gate::new();
    sim.script(&number, vec![Script::Hold(gate.clone())]);
    gateway.create(create_request(&number));
    within("the send to arrive", gate.arrived()).await;
    gateway.kill().await;
    let gateway = Process::start(&sim, dir.path()).await;
    // The old send is taken only now, while the new process is already at work.
    gate.open();
    assert_finished_and_paid_once(&gateway, &sim, &number).await;
}

#[tokio::test]
async fn killed_while_douyin_answers_it_finishes_after_the_restart() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let gateway = Process::start(&sim, dir.path()).await;
    let number = number("during-answer");
    // Applied, and the answer never leaves.
    sim.script(&number, vec![Script::apply_then(Script::Hang)]);
    gateway.create(create_request(&number));
    within("the effect", sim.until(|books| books.only(&number).is_some())).await;
    gateway.kill().await;
    let gateway = Process::start(&sim, dir.path()).await;
    assert_finished_and_paid_once(&gateway, &sim, &number).await;
    assert_eq!(sim.books().sends(&number), 1, "found by query, not sent again");
}

#[tokio::test]
async fn killed_after_the_answer_a_watcher_resumes_with_its_last_revision() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let gateway = Process::start(&sim, dir.path()).await;
    let number = number("after-answer");
    let request = create_on(&number, "sim-hold-1");
    let settle = gateway.client.clone().create_settle(request).await.unwrap();
    let settle = settle.into_inner().settle.unwrap();
    assert_eq!(settle.state(), SettleState::Processing);
    gateway.kill().await;
    let gateway = Process::start(&sim, dir.path()).await;
    assert!(sim.finish(settle.settle_id(), douyin_sim::Status::Success));
    let told = gateway.end(&number, settle.revision).await;
    assert!(told.iter().all(|newer| newer.revision > settle.revision));
    assert_eq!(told.last().unwrap().state(), SettleState::Succeeded);
    assert_eq!(sim.books().sends(&number), 1);
}

#[tokio::test]
async fn killed_again_and_again_under_load_every_intent_is_paid_once() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let mut numbers = Vec::new();
    for round in 0..=5 {
        let gateway = Process::start(&sim, dir.path()).await;
        let load: Vec<_> = (0..LOAD).map(|_| number("load")).collect();
        for number in &load {
            gateway.create(create_request(number));
        }
        // From the first record, for which a token is fetched, to the arrival of the last send.
        let as_far = |books: &Snapshot| {
            let arrived = load.iter().filter(|number| books.sends(number) > 0).count();
            books.token_calls_total() > 0 && arrived >= round * LOAD / 5
        };
        within("the load to get as far", sim.until(as_far)).await;
        gateway.kill().await;
        numbers.extend(load);
    }
    let gateway = Process::start(&sim, dir.path()).await;
    let mut recorded = 0;
    for number in &numbers {
        let request = v1::GetSettleRequest {
            key: Some(v1::get_settle_request::Key::OutSettleNo(number.clone())),
            ..Default::default()
        };
        // A create that died before it was recorded is gone; one that Douyin has was recorded.
        match gateway.client.clone().get_settle(request).await {
            Ok(_) => {
                recorded += 1;
                assert_finished_and_paid_once(&gateway, &sim, number).await;
            }
            Err(status) => {
                assert_eq!(status.code(), Code::NotFound, "{status:?}");
                assert_eq!(sim.books().sends(number), 0, "{number} was sent unrecorded");
            }
        }
    }
    // One of the first round, a fifth of the next and so on to all of the last.
    assert!(recorded > LOAD * (1 + 2 + 3 + 4 + 5) / 5, "{recorded} were recorded");
}
