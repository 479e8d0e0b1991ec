//! The load: callers in a closed loop, each with one call in flight, and what they measured.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use settlement_gateway::proto::v1::settlement_service_client::SettlementServiceClient;
use tonic::transport::{Channel, Endpoint};

use crate::Failure;
use crate::bare::{body_of, http_client};
use crate::numbers::{Numbers, create};
use crate::upstream::CREATE_PATH;

pub type Client = SettlementServiceClient<Channel>;

/// What the callers call.
#[derive(Clone)]
pub enum Target {
    /// The upstream itself, at this address.
    Direct(String),
    /// A server with the gateway's contract.
    Grpc(String),
    /// Several such servers, which share the callers evenly.
    Replicas(Vec<String>),
}

#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub callers: usize,
    pub warm_up: Duration,
    pub measured: Duration,
    /// Threads that the callers share.
    pub threads: usize,
}

/// What was measured in a round.
pub struct Sample<T> {
    pub seconds: f64,
    /// The time of each call; sorted.
    pub micros: Vec<u32>,
    /// What `ask` returned at the beginning of the measured time.
    pub before: T,
    pub after: T,
}

impl<T> Sample<T> {
    pub fn calls(&self) -> f64 {
        self.micros.len() as f64
    }

    pub fn per_second(&self) -> f64 {
        self.calls() / self.seconds
    }

    /// The latency that this part of the calls did not exceed, for example 0.99 of them.
    pub fn quantile(&self, part: f64) -> f64 {
        let last = self.micros.len().saturating_sub(1);
        let index = (last as f64 * part).round() as usize;
        self.micros.get(index).map_or(f64::NAN, |micros| f64::from(*micros))
    }
}

const WARMING_UP: u8 = 0;
const MEASURING: u8 = 1;
const OVER: u8 = 2;

/// What the threads of a round share.
struct Round {
    target: Target,
    numbers: Numbers,
    phase: AtomicU8,
    connected: Barrier,
}

/// Makes calls with fresh numbers, and counts the calls that end within the measured time. The
/// first call that fails ends the round and is its error. `ask` is called at both ends of the
/// measured time.
pub fn run<T>(
    target: &Target,
    numbers: &Numbers,
    plan: Plan,
    ask: impl Fn() -> Result<T, Failure>,
) -> Result<Sample<T>, Failure> {
    let threads = plan.threads.min(plan.callers);
    let round = Arc::new(Round {
        target: target.clone(),
        numbers: numbers.clone(),
        phase: AtomicU8::new(WARMING_UP),
        connected: Barrier::new(threads + 1),
    });
    let mut workers = Vec::new();
    for index in 0..threads {
        let callers = plan.callers / threads + usize::from(index < plan.callers % threads);
        let round = round.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = thread::Builder::new().name("load".to_owned());
        workers.push(thread.spawn(move || runtime.block_on(round.play(callers)))?);
    }
    round.connected.wait();
    thread::sleep(plan.warm_up);
    let (before, began) = (ask(), Instant::now());
    round.advance(MEASURING);
    thread::sleep(plan.measured);
    let (after, seconds) = (ask(), began.elapsed().as_secs_f64());
    round.advance(OVER);
    let mut micros = Vec::new();
    for worker in workers {
        micros.append(&mut worker.join().map_err(|_| "a thread of the load panicked")??);
    }
    micros.sort_unstable();
    Ok(Sample { seconds, micros, before: before?, after: after? })
}

impl Round {
    fn phase(&self) -> u8 {
        self.phase.load(Ordering::Relaxed)
    }

    /// Never goes back: a round that failed stays over.
    fn advance(&self, phase: u8) {
        self.phase.fetch_max(phase, Ordering::Relaxed);
    }

    async fn play(self: Arc<Self>, callers: usize) -> Result<Vec<u32>, Failure> {
        let lines = Lines::connect(&self.target, callers).await;
        self.connected.wait();
        let lines = lines.inspect_err(|_| self.advance(OVER))?;
        let tasks: Vec<_> = (0..callers)
            .map(|caller| tokio::spawn(self.clone().call_on(lines.of(caller))))
            .collect();
        let mut micros = Vec::new();
        for task in tasks {
            micros.append(&mut task.await??);
        }
        Ok(micros)
    }

    async fn call_on(self: Arc<Self>, mut line: Line) -> Result<Vec<u32>, Failure> {
        let mut micros = Vec::new();
        while self.phase() != OVER {
            let number = self.numbers.next();
            let began = Instant::now();
            let called = line.create(self.numbers.tag, number).await;
            let took = began.elapsed();
            called.inspect_err(|_| self.advance(OVER))?;
            if self.phase() == MEASURING {
                micros.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
            }
        }
        Ok(micros)
    }
}

/// The connections that the callers of one thread share.
enum Lines {
    Direct(Line),
    Grpc(Vec<Line>),
}

/// The connection that one caller uses.
#[derive(Clone)]
enum Line {
    Direct { client: reqwest::Client, url: String },
    Grpc(Client),
}

impl Lines {
    async fn connect(target: &Target, callers: usize) -> Result<Self, Failure> {
        match target {
            Target::Direct(url) => {
                let url = format!("{url}{CREATE_PATH}");
                Ok(Lines::Direct(Line::Direct { client: http_client(callers)?, url }))
            }
            Target::Grpc(url) => Self::to(std::slice::from_ref(url), callers).await,
            Target::Replicas(urls) => Self::to(urls, callers).await,
        }
    }

    /// As many connections to each server, 16 at most in all, or one each.
    async fn to(urls: &[String], callers: usize) -> Result<Self, Failure> {
        let each = (callers / 16).clamp(1, 16).div_ceil(urls.len());
        let mut lines = Vec::new();
        for url in urls.iter().cycle().take(each * urls.len()) {
            lines.push(Line::Grpc(connect(url).await?));
        }
        Ok(Lines::Grpc(lines))
    }

    fn of(&self, caller: usize) -> Line {
        match self {
            Lines::Direct(line) => line.clone(),
            Lines::Grpc(lines) => lines[caller % lines.len()].clone(),
        }
    }
}

impl Line {
    async fn create(&mut self, tag: &str, number: u64) -> Result<(), Failure> {
        let request = create(tag, number);
        match self {
            Line::Direct { client, url } => {
                let request = client.post(url.as_str()).body(body_of(&request)?);
                request.send().await?.error_for_status()?.bytes().await?;
            }
            Line::Grpc(client) => {
                client.create_settle(request).await?;
            }
        }
        Ok(())
    }
}

pub async fn connect(url: &str) -> Result<Client, Failure> {
    let endpoint = Endpoint::from_shared(url.to_owned())?.tcp_nodelay(true);
    Ok(SettlementServiceClient::new(endpoint.connect().await?))
}
