//! The link on which Douyin's callbacks travel: late, lost, twice, cut short, and to whichever
//! replica is up.

use std::time::Duration;

use bytes::Bytes;
use douyin_sim::{CallbackAnswer, Delivery};
use settlement_gateway::http::callbacks::Received;
use settlement_gateway::settle::AppId;
use tokio::sync::oneshot;

use crate::faults::Fault;
use crate::gateway::Running;
use crate::link::replica_up;
use crate::mutations::Broken;
use crate::world::World;

/// Carries what Douyin has to tell, for as long as the world lasts.
pub async fn work(world: World) {
    loop {
        let now_ms = world.now_ms();
        world.books_changed();
        let (due, next_ms) = {
            let mut douyin = world.douyin();
            (douyin.core.callbacks_due(now_ms, AT_ONCE_MAX), douyin.core.next_event_at_ms())
        };
        for delivery in due {
            tokio::spawn(carry(world.clone(), delivery));
        }
        let wait_ms = next_ms.map_or(IDLE_MS, |at_ms| at_ms.saturating_sub(now_ms).max(1));
        tokio::select! {
            biased;
            () = world.mail().notified() => {}
            () = tokio::time::sleep(Duration::from_millis(wait_ms)) => {}
        }
    }
}

const AT_ONCE_MAX: usize = 64;
/// Long, because tasks wake it when Douyin may have a callback to send.
const IDLE_MS: u64 = 3_600_000;

/// One delivery, there and back.
async fn carry(world: World, delivery: Delivery) {
    let deadline = Duration::from_millis(delivery.deadline_ms);
    let answer = tokio::time::timeout(deadline, travel(&world, &delivery)).await;
    let answer = answer.unwrap_or(CallbackAnswer::TimedOut);
    world.say("Douyin", || format!("hears of callback {}: {answer:?}", delivery.callback));
    let now_ms = world.now_ms();
    world.douyin().core.callback_answered(now_ms, delivery.id, &answer);
    world.mail().notify_one();
}

async fn travel(world: &World, delivery: &Delivery) -> CallbackAnswer {
    tokio::time::sleep(world.latency()).await;
    if world.roll(Fault::CallbackCopied) {
        let (world, delivery) = (world.clone(), delivery.clone());
        tokio::spawn(async move {
            tokio::time::sleep(world.below_time(world.plan().copy_late_max)).await;
            arrive(&world, &delivery, delivery.body.clone()).await
        });
    }
    if world.roll(Fault::CallbackLost) {
        tokio::time::sleep(Duration::from_secs(3_600)).await;
    }
    if world.roll(Fault::CallbackLate) {
        tokio::time::sleep(world.below_time(Duration::from_secs(20))).await;
    }
    let cut = world.roll(Fault::CallbackCut);
    if cut || delivery.cut {
        let whole = &delivery.body;
        let part = whole.slice(..world.below(whole.len().max(1)));
        // Some servers hand on what they have got.
        if world.coin() {
            arrive(world, delivery, part).await;
        }
        return CallbackAnswer::Broken("cut".to_owned());
    }
    let answer = arrive(world, delivery, delivery.body.clone()).await;
    if world.roll(Fault::CallbackAnswerLost) {
        return CallbackAnswer::Broken("the answer was lost".to_owned());
    }
    tokio::time::sleep(world.latency()).await;
    answer
}

/// A delivery comes to a gateway.
async fn arrive(world: &World, delivery: &Delivery, body: Bytes) -> CallbackAnswer {
    let Some(Running { process, core, .. }) = replica_up(world) else {
        return CallbackAnswer::Broken("connection refused".to_owned());
    };
    let app_id = AppId::parse(delivery.app_id.clone()).expect("a name like any other");
    let headers = delivery.headers.clone();
    let (answer, answered) = oneshot::channel();
    if world.plan().broken == Some(Broken::ForgottenCallbacks) {
        let _ = answer.send(Received::Acknowledged);
    } else {
        process.spawn(async move {
            let app = core.apps.get(&app_id).expect("all apps of a run are served");
            let _ = answer.send(core.callbacks.receive(app, "nowhere", &headers, &body).await);
        });
    }
    let Ok(verdict) = answered.await else {
        return CallbackAnswer::Broken("reset".to_owned());
    };
    world.say(process.name(), || format!("callback {}: {verdict:?}", delivery.callback));
    if verdict == Received::Acknowledged {
        acknowledged(world, delivery);
    }
    let answer = verdict.answer();
    CallbackAnswer::Answered { status: answer.status.as_u16(), body: answer.body }
}

fn acknowledged(world: &World, delivery: &Delivery) {
    let told = {
        let books = world.douyin().core.snapshot();
        books.callbacks.iter().find(|known| known.id == delivery.callback).cloned()
    };
    if let Some(told) = told {
        let status = told.status;
        world.checker().acknowledged(world, (&told.app_id, &told.settle_id), status);
    }
}
