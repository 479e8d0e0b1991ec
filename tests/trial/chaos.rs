//! What happens to whole processes and services: the acts of the plan, and the end of each settle.

use std::time::Duration;

use douyin_sim::{Forged, Script, Status, StrangerSettle};
use settlement_gateway::settle::Mark;
use tokio::time::Instant;

use crate::douyin::{USE_FEN, app_id};
use crate::faults::Fault;
use crate::gateway;
use crate::plan::Act;
use crate::world::World;

/// Plays the acts, ends all faults, and starts again what is down.
pub async fn reign(world: World) {
    tokio::spawn(revive(world.clone()));
    let began = Instant::now();
    for &(at, act) in &world.plan().acts {
        tokio::time::sleep_until(began + at).await;
        world.say("chaos", || format!("{act:?}"));
        perform(&world, act);
    }
    tokio::time::sleep_until(began + world.plan().storm).await;
    {
        let mut douyin = world.douyin();
        douyin.unreachable = false;
        douyin.core.always(None);
        douyin.core.set_faults_per_10_000(0);
        for app in 0..world.plan().apps {
            douyin.set_credentials(&app_id(app), true);
        }
    }
    world.database().end_outage();
    world.calm_down();
    world.deaths().notify_one();
}

fn perform(world: &World, act: Act) {
    match act {
        Act::Crash { replica, polls } => {
            let process = running(world, replica);
            if let Some(process) = process {
                process.die_in(polls);
            }
        }
        Act::Restart { replica } => {
            let world = world.clone();
            tokio::spawn(async move { gateway::stop(&world, replica).await });
        }
        Act::Pause { replica, lasts } => {
            if let Some(process) = running(world, replica) {
                world.count(Fault::Pause);
                process.freeze(lasts);
            }
        }
        Act::Outage { lasts } => {
            if world.database().is_open() {
                world.count(Fault::Outage);
                world.database().begin_outage();
                later(world, lasts, |world| world.database().end_outage());
            }
        }
        Act::Storm { lasts, err_no } => {
            world.count(Fault::Storm);
            world.douyin().core.always(Some(&Script::Refuse(err_no)));
            later(world, lasts, |world| world.douyin().core.always(None));
        }
        Act::Unreachable { lasts } => {
            world.count(Fault::Unreachable);
            world.douyin().unreachable = true;
            later(world, lasts, |world| world.douyin().unreachable = false);
        }
        Act::TokenStolen | Act::TokensEnded => {
            let app = app_id(world.below(world.plan().apps));
            let now_ms = world.now_ms();
            if act == Act::TokenStolen {
                world.count(Fault::TokenStolen);
                world.douyin().core.steal_token(now_ms, &app);
            } else {
                world.count(Fault::TokensEnded);
                world.douyin().core.expire_tokens(now_ms, &app);
            }
        }
        Act::SecretWrong { lasts } => {
            world.count(Fault::SecretWrong);
            let app = app_id(world.below(world.plan().apps));
            world.douyin().set_credentials(&app, false);
            let now_ms = world.now_ms();
            world.douyin().core.expire_tokens(now_ms, &app);
            later(world, lasts, move |world| world.douyin().set_credentials(&app, true));
        }
        Act::Stranger => stranger(world),
        Act::Restore => world.restore(),
        Act::StoreClock { by_ms } => {
            world.count(Fault::StoreClockSet);
            world.database().set_clock(by_ms);
        }
    }
}

fn running(world: &World, replica: usize) -> Option<crate::process::Process> {
    let slots = world.slots();
    let running = slots.get(replica)?.running.as_ref();
    running.filter(|running| running.process.is_alive()).map(|running| running.process.clone())
}

/// Unless faults are over by then, which ends everything by itself.
fn later(world: &World, lasts: Duration, undo: impl FnOnce(&World) + Send + 'static) {
    let world = world.clone();
    tokio::spawn(async move {
        tokio::time::sleep(lasts).await;
        if !world.is_calm() {
            undo(&world);
        }
    });
}

/// Another system takes a number that one of our callers uses or will use.
fn stranger(world: &World) {
    let intents = world.plan().intents;
    let intent = world.below(intents);
    let number = crate::callers::number(intent, world.below(2));
    let Some(ours) = world.checker().intent(intent) else { return };
    if world.douyin().core.number_taken_in(ours.system.there, &ours.app_id, &number) {
        return;
    }
    // Whose settle of our order it is can be told by the mark, or by an `ext` of the caller's.
    let told_apart = world.plan().knobs.mark == Mark::On || ours.ext.is_some();
    let same_order = told_apart && world.coin();
    let out_order_no = if same_order { ours.out_order_no } else { format!("sim-hold-x{intent}") };
    let settle = StrangerSettle {
        system: ours.system.there,
        out_order_no,
        cp_extra: if world.coin() { "sg1:another-system".to_owned() } else { "other".to_owned() },
        status: [Status::Init, Status::Processing, Status::Success, Status::Fail][world.below(4)],
        amount_fen: Some(USE_FEN / 10),
        ..StrangerSettle::default()
    };
    world.count(Fault::Stranger);
    let now_ms = world.now_ms();
    let place = (ours.app_id.as_str(), number.as_str());
    let settle_id = world.douyin().core.stranger_settle(now_ms, place, settle);
    world.say("chaos", || format!("a stranger takes {number} as {settle_id}"));
    world.books_changed();
    tokio::spawn(course(world.clone(), settle_id));
}

/// A settle comes to its end.
pub async fn course(world: World, settle_id: String) {
    tokio::time::sleep(world.below_time(world.plan().course_max)).await;
    let status = if world.roll(Fault::Failed) { Status::Fail } else { Status::Success };
    let now_ms = world.now_ms();
    let open = {
        let douyin = world.douyin();
        let mut settles = douyin.core.settles();
        settles.any(|settle| settle.settle_id == settle_id && !settle.status.is_final())
    };
    if open {
        world.douyin().core.finish(now_ms, &settle_id, status);
        world.books_changed();
        contradict(&world, &settle_id, status).await;
    }
}

/// A callback from Douyin itself tells the opposite of a settle's end, some time after it.
async fn contradict(world: &World, settle_id: &str, status: Status) {
    if status != Status::Success || !world.plan().callbacks || !world.roll(Fault::Contradiction) {
        return;
    }
    tokio::time::sleep(world.below_time(Duration::from_secs(60))).await;
    let now_ms = world.now_ms();
    let (settle, body) = {
        let douyin = world.douyin();
        let mut settles = douyin.core.settles();
        let settle = settles.find(|settle| settle.settle_id == settle_id).cloned();
        (settle, douyin.core.callback_body(settle_id, Status::Fail))
    };
    if let (Some(settle), Some(body)) = (settle, body) {
        world.checker().contradicted(&settle);
        let (system, app_id) = (settle.system, settle.app_id);
        let forged = Forged { system, app_id, body, ..Forged::default() };
        world.douyin().core.forge_callback(now_ms, &forged);
        world.mail().notify_one();
    }
}

/// Starts again what died.
async fn revive(world: World) {
    loop {
        world.deaths().notified().await;
        loop {
            let dead = {
                let slots = world.slots();
                slots.iter().position(|slot| !slot.is_alive())
            };
            let Some(replica) = dead else { break };
            if !world.is_calm() {
                tokio::time::sleep(world.below_time(Duration::from_secs(20))).await;
            }
            tokio::time::sleep(world.closed_for()).await;
            world.open_again();
            gateway::start(&world, replica);
        }
    }
}
