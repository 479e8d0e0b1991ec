//! Honest callers: each pays one intent after the other, by the contract, and watches it to its
//! end. They are patient, so that whatever ends a call early is not theirs.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fastrand::Rng;
use settlement_gateway::proto::v1;
use settlement_gateway::proto::v1::settlement_service_client::SettlementServiceClient;
use settlement_gateway::proto::v1::watch_settle_response::Event;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tonic::Status;
use tonic::transport::Channel;

use super::LOOK;
use super::stage::Stage;
use super::table::Heard;
use crate::harness::{details, watch_request, within};
use crate::kills::ledger::{End, Ledger};

/// Numbers, each with the newest revision that was told.
type Told = BTreeMap<String, i64>;
type Client = SettlementServiceClient<Channel>;

const CALLERS: usize = 8;
/// Three times as long as the gateway lets a call wait.
const PATIENCE: Duration = Duration::from_secs(15);
/// Longer than an orchestrator waits, because its machine is not shared with the peers.
const PROBE_PATIENCE: Duration = Duration::from_secs(5);
/// How much longer than its time a stretch may take until enough is heard.
const ENOUGH_PATIENCE: Duration = Duration::from_secs(30);
/// How long everything that was begun may take to end once nothing is hostile any more.
const LAST_PATIENCE: Duration = Duration::from_secs(60);

pub struct Crowd {
    shared: Shared,
    closing: watch::Sender<bool>,
    callers: JoinSet<()>,
    probes: JoinHandle<()>,
}

#[derive(Clone)]
struct Shared {
    ledger: Arc<Ledger>,
    heard: Arc<Mutex<Heard>>,
    closing: watch::Receiver<bool>,
}

impl Crowd {
    pub fn gather(stage: &Stage) -> Self {
        let (closing, receiver) = watch::channel(false);
        let shared = Shared { ledger: Arc::default(), heard: Arc::default(), closing: receiver };
        let mut callers = JoinSet::new();
        let mut rng = Rng::with_seed(1);
        for number in 0..CALLERS {
            let channel = &stage.channels[number % stage.channels.len()];
            let client = SettlementServiceClient::new(channel.clone());
            callers.spawn(caller(shared.clone(), client, rng.fork()));
        }
        let probes = tokio::spawn(probe(shared.clone(), stage.surroundings().admin));
        Self { shared, closing, callers, probes }
    }

    /// What is heard in this time, or until it is enough, which takes longer on a machine that does
    /// other things as well; `look` is called now and then.
    pub async fn listen(
        &mut self,
        time: Duration,
        is_enough: fn(&Heard) -> bool,
        mut look: impl FnMut(),
    ) -> Heard {
        self.shared.take();
        let began = Instant::now();
        let goes_on = |shared: &Shared| match began.elapsed() {
            passed if passed < time => true,
            passed => passed < time + ENOUGH_PATIENCE && !shared.asked(is_enough),
        };
        while goes_on(&self.shared) {
            look();
            tokio::time::sleep(LOOK.min(time)).await;
        }
        self.shared.take()
    }

    /// Finishes every payment that was begun. Returns how many intents are not paid then, what was
    /// told and is not so, and everything that was told.
    pub async fn disperse(mut self, stage: &Stage) -> (usize, Vec<String>, Told) {
        self.closing.send_replace(true);
        let ends = Instant::now() + LAST_PATIENCE;
        let mut lies = Vec::new();
        while stage.lives() && Instant::now() < ends && !self.callers.is_empty() {
            let done = tokio::time::timeout(LOOK, self.callers.join_next()).await;
            if let Ok(Some(Err(error))) = done {
                lies.push(error.to_string());
            }
        }
        within("the last probe", self.probes).await.expect("it only asks");
        let mut ledger = self.shared.ledger.open();
        let books = stage.sim.books();
        let true_to_the_books = catch_unwind(AssertUnwindSafe(|| ledger.assert_true(&books)));
        if let Err(panic) = true_to_the_books {
            let text = panic.downcast_ref::<String>().cloned();
            lies.push(text.unwrap_or_else(|| "the books say something else".to_owned()));
        }
        (ledger.unpaid(), lies, ledger.told_ever())
    }
}

/// What was told, and is not there any more or older than it was.
pub async fn forgotten(stage: &Stage, told: Told) -> Vec<String> {
    let mut forgotten = Vec::new();
    let mut client = SettlementServiceClient::new(stage.channels[0].clone());
    for (number, revision) in told {
        let request = v1::GetSettleRequest {
            key: Some(v1::get_settle_request::Key::OutSettleNo(number.clone())),
            ..Default::default()
        };
        let answer = within("GetSettle", client.get_settle(request)).await;
        let settle = answer.map(|answer| answer.into_inner().settle.expect("OK shows the settle"));
        if !settle.as_ref().is_ok_and(|settle| settle.revision >= revision) {
            forgotten.push(format!("{number}: {revision} was told; {settle:?}"));
        }
    }
    forgotten
}

/// An orchestrator that asks several times per second whether it is ready.
async fn probe(shared: Shared, admin: SocketAddr) {
    let ask = async || {
        let mut socket = TcpStream::connect(admin).await?;
        let request = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        socket.write_all(request).await?;
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.map(|_| answer)
    };
    while !*shared.closing.borrow() {
        let answer = tokio::time::timeout(PROBE_PATIENCE, ask()).await;
        let ready = matches!(answer, Ok(Ok(answer)) if answer.starts_with(b"HTTP/1.1 200"));
        shared.note(|heard| {
            heard.probes += 1;
            heard.ready += usize::from(ready);
        });
        tokio::time::sleep(LOOK).await;
    }
}

async fn caller(shared: Shared, client: Client, mut rng: Rng) {
    while !*shared.closing.borrow() {
        let order = if rng.u8(..8) == 0 { "sim-fail" } else { "order" };
        let intent = shared.ledger.open().intend(order);
        if rng.u8(..8) == 0 {
            shared.list(client.clone()).await;
        }
        while !shared.is_paid(intent) {
            if shared.create(intent, client.clone()).await {
                shared.watch(intent, client.clone()).await;
            }
            tokio::time::sleep(Duration::from_millis(rng.u64(10..40))).await;
        }
    }
}

impl Shared {
    fn take(&self) -> Heard {
        std::mem::take(&mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, note: impl FnOnce(&mut Heard)) {
        note(&mut self.heard.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn asked(&self, ask: fn(&Heard) -> bool) -> bool {
        ask(&self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Goes on under another number where the contract permits one.
    fn is_paid(&self, intent: usize) -> bool {
        let mut ledger = self.ledger.open();
        match ledger.current(intent).told.end() {
            Some(End::Succeeded) => {
                ledger.intents[intent].paid = true;
                true
            }
            Some(End::Failed | End::Refused) => {
                ledger.attempt(intent, "order");
                false
            }
            None => false,
        }
    }

    /// Whether it was answered with OK.
    async fn create(&self, intent: usize, mut client: Client) -> bool {
        let request = self.ledger.open().current(intent).request.clone();
        let number = request.out_settle_no.clone();
        let began = Instant::now();
        match self.patiently("CreateSettle", client.create_settle(request)).await {
            Some(Ok(response)) => {
                let took = began.elapsed();
                self.note(|heard| heard.took.push(took));
                let settle = response.into_inner().settle.expect("OK shows the settle");
                self.ledger.open().shown(&settle);
                true
            }
            Some(Err(told)) if told.as_deref() == Some("refused") => {
                self.ledger.open().refused(&number);
                false
            }
            Some(Err(_)) | None => false,
        }
    }

    /// The newest settles, as many as fit on a page.
    async fn list(&self, mut client: Client) {
        let request = v1::ListSettlesRequest { page_size: 500, ..Default::default() };
        if let Some(Ok(page)) = self.patiently("ListSettles", client.list_settles(request)).await {
            let mut ledger = self.ledger.open();
            page.into_inner().settles.iter().for_each(|settle| ledger.shown(settle));
        }
    }

    async fn watch(&self, intent: usize, mut client: Client) {
        let number = self.ledger.open().current(intent).request.out_settle_no.clone();
        let call = client.watch_settle(watch_request(&number, 0));
        let Some(Ok(stream)) = self.patiently("WatchSettle", call).await else { return };
        let mut stream = stream.into_inner();
        let to_the_end = async {
            while let Some(message) = stream.message().await? {
                if let Some(Event::Settle(settle)) = message.event {
                    self.ledger.open().shown(&settle);
                }
            }
            Ok(())
        };
        // A settle may take longer than a caller watches it: it comes back.
        if let Ok(Err(status)) = tokio::time::timeout(PATIENCE, to_the_end).await {
            self.failed("WatchSettle", &status);
        }
    }

    /// The answer; of a failure with details what it promises. `None`: it is counted.
    async fn patiently<T>(
        &self,
        rpc: &str,
        call: impl Future<Output = Result<T, Status>>,
    ) -> Option<Result<T, Option<String>>> {
        self.note(|heard| heard.calls += 1);
        match tokio::time::timeout(PATIENCE, call).await {
            Ok(Ok(answer)) => Some(Ok(answer)),
            Ok(Err(status)) => Some(Err(self.failed(rpc, &status))),
            Err(_) => {
                let silent = format!("{rpc}: no answer within {PATIENCE:?}");
                self.note(|heard| heard.failed_without.push(silent));
                None
            }
        }
    }

    /// The outcome that a failure promises.
    fn failed(&self, rpc: &str, status: &Status) -> Option<String> {
        if status.details().is_empty() {
            self.note(|heard| heard.failed_without.push(format!("{rpc}: {status:?}")));
            return None;
        }
        self.note(|heard| heard.failed_with_details += 1);
        let outcome = details(status).info.metadata.get("outcome").cloned();
        assert!(rpc != "CreateSettle" || outcome.is_some(), "no outcome: {status:?}");
        outcome
    }
}
