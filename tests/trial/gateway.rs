//! One gateway of a run: all of it but the listeners, in a process of its own, from start to stop
//! or death.

use std::time::Duration;

use douyin_sim::{PlatformKey, SANDBOX_APP_PRIVATE_KEY_PEM, SANDBOX_CALLBACK_TOKEN, SANDBOX_SALT};
use secrecy::SecretString;
use settlement_gateway::apps::{AppConfig, Budget};
use settlement_gateway::clock::{Clock, Timestamp};
use settlement_gateway::config::Config;
use settlement_gateway::core::Core;
use settlement_gateway::douyin::{ClientConfig, PlatformKeys, SigningKey};
use settlement_gateway::gateway::GatewayConfig;
use settlement_gateway::grpc::GrpcConfig;
use settlement_gateway::settle::AppId;

use crate::douyin::{SECRET, app_id, transport};
use crate::faults::Fault;
use crate::mutations::Broken;
use crate::plan::{Plan, SIGNED_AWAY_MS_MAX};
use crate::process::Process;
use crate::world::World;

/// The place of one replica.
#[derive(Default)]
pub struct Slot {
    pub running: Option<Running>,
    starts: u32,
}

/// A gateway that runs, or did until a moment ago.
#[derive(Clone)]
pub struct Running {
    pub process: Process,
    pub core: Core,
    /// Between the end of what it serves and its own.
    stopping: bool,
}

impl Slot {
    pub fn is_alive(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.process.is_alive())
    }
}

/// Starts the gateway of a replica, and the store if it is not open.
pub fn start(world: &World, replica: usize) {
    let plan = world.plan();
    let starts = {
        let mut slots = world.slots();
        slots[replica].starts += 1;
        slots[replica].starts
    };
    let clock = clock(world, replica, starts);
    let process = Process::new(world, format!("g{replica}.{starts}"));
    let store = world.database().store(plan);
    let keys = PlatformKeys::parse(&PlatformKey::sandbox().public_pem());
    let keys = keys.expect("the simulator's own key is one");
    let signing_key = SigningKey::parse(&SANDBOX_APP_PRIVATE_KEY_PEM.to_owned().into(), "1");
    let signing_key = Some(signing_key.expect("the simulator's own key is one"));
    let configured = plan.configured();
    let mut config = Config {
        douyin: client_config(plan),
        gateway: GatewayConfig {
            seed: seed(plan, replica, starts),
            runner: process.runner(),
            ..plan.gateway()
        },
        grpc: GrpcConfig {
            watches_max: plan.knobs.watches_max,
            slow_consumer: plan.knobs.slow_consumer,
            ..GrpcConfig::default()
        },
        poller: plan.knobs.poller.clone(),
        ..Config::default()
    };
    for app in 0..plan.apps {
        let app_id = AppId::parse(app_id(app)).expect("a name like any other");
        let budget = match plan.broken {
            Some(Broken::OverBudget) => Budget::default(),
            Some(Broken::WholeBudgets) => times(plan.knobs.budget, plan.replicas),
            Some(_) | None => plan.knobs.budget,
        };
        let platform_keys = Some(keys.clone());
        let app = AppConfig::new(app_id, SecretString::from(SECRET));
        config.apps.push(AppConfig {
            budget,
            platform_keys,
            trade_systems: configured.iter().map(|known| known.configured).collect(),
            signing_key: signing_key.clone(),
            salt: Some(SANDBOX_SALT.to_owned().into()),
            callback_token: Some(SANDBOX_CALLBACK_TOKEN.to_owned().into()),
            ..app
        });
    }
    if plan.broken == Some(Broken::NoGrace) {
        config.gateway.policy.grace = Duration::ZERO;
    }
    if plan.broken == Some(Broken::NoResync) {
        config.gateway.resync = Duration::from_secs(30 * 86_400);
        config.gateway.shared_resync = config.gateway.resync;
    }
    let core = Core::build(config, store, Some(transport(world, &process)), clock);
    let core = core.expect("the apps are different ones");
    core.drive();
    world.say(process.name(), || "starts".to_owned());
    world.slots()[replica].running = Some(Running { process, core, stopping: false });
}

/// What is this budget again, once it is divided among so many replicas.
fn times(budget: Budget, replicas: usize) -> Budget {
    let replicas = u32::try_from(replicas).expect("a few");
    Budget { requests_per_second: budget.requests_per_second * replicas, ..budget }
}

/// Each replica has a clock of its own, which may be set between two starts.
fn clock(world: &World, replica: usize, starts: u32) -> Clock {
    let (ahead_ms, drift_ppm) = world.plan().clocks.get(replica).copied().unwrap_or_default();
    let mut now_ms = i64::try_from(world.now_ms()).expect("this century") + ahead_ms;
    if starts > 1 && world.roll(Fault::ClockSet) {
        let longest_ms = [1_000, 60_000, 3_600_000, 3 * 86_400_000][world.below(4)];
        let by_ms = i64::try_from(world.upto(longest_ms)).expect("days");
        let by_ms = if world.coin() { by_ms } else { -by_ms };
        world.say("world", || format!("the clock of g{replica} is set by {by_ms} ms"));
        now_ms += by_ms;
    }
    if world.plan().signs() {
        let true_ms = i64::try_from(world.now_ms()).expect("this century");
        now_ms = now_ms.clamp(true_ms - SIGNED_AWAY_MS_MAX, true_ms + SIGNED_AWAY_MS_MAX);
    }
    Clock::drifting(Timestamp::from_ms(now_ms), drift_ppm)
}

/// Numbers each process of a run, and the runs apart: it is what a process is named by.
fn seed(plan: &Plan, replica: usize, starts: u32) -> u64 {
    let starts = match plan.broken {
        Some(Broken::OneName) => 0,
        Some(_) | None => u64::from(starts) * 16 + u64::try_from(replica).expect("a few"),
    };
    plan.seed.wrapping_mul(1_000_003).wrapping_add(starts)
}

fn client_config(plan: &Plan) -> ClientConfig {
    let knobs = &plan.knobs;
    ClientConfig {
        attempt_timeout: knobs.attempt_timeout,
        call_timeout: knobs.policy.call_timeout,
        refetch_gap: knobs.refetch_gap,
        pause_max: knobs.pause_max,
        refresh_ahead: knobs.token_life.min(Duration::from_secs(240)) / 2,
        ..ClientConfig::default()
    }
}

/// Stops the gateway of a replica in order, as the server does.
pub async fn stop(world: &World, replica: usize) {
    let running = {
        let mut slots = world.slots();
        let Some(slot) = slots.get_mut(replica) else { return };
        let running = slot.running.as_mut();
        let running = running.filter(|running| running.process.is_alive() && !running.stopping);
        let Some(running) = running else { return };
        running.stopping = true;
        running.clone()
    };
    world.count(Fault::Restart);
    world.say(running.process.name(), || "stops in order".to_owned());
    let (ended, mut end) = tokio::sync::mpsc::channel(1);
    let Running { process, core, .. } = running.clone();
    process.spawn(async move {
        core.drain();
        core.finish().await;
        let _ = ended.send(()).await;
    });
    // The poller ends by itself after that; if it takes long, the grace period ends first.
    let grace = Duration::from_secs(30);
    let graceful = tokio::time::timeout(grace, end.recv()).await == Ok(Some(()));
    if graceful {
        for _ in 0..600 {
            if running.process.tasks() == 0 || !running.process.is_alive() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    if !running.process.is_alive() {
        return;
    }
    world.say(running.process.name(), || format!("stopped, graceful: {graceful}"));
    running.process.kill();
    if world.slots().iter().all(|slot| !slot.is_alive()) {
        if graceful {
            // The queue is committed by the world until it is closed.
            while world.database().commit() > 0 {}
            running.core.close().await;
            world.database().close();
        } else {
            world.database().crash();
        }
    }
    world.deaths().notify_one();
}
