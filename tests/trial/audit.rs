//! Readers: a curious caller while faults go on, and the audit when all is over.

use std::time::Duration;

use settlement_gateway::grpc::Service;
use settlement_gateway::proto::v1;
use settlement_gateway::proto::v1::settlement_service_server::SettlementService as _;
use tokio::sync::oneshot;
use tonic::{Request, Response, Status};

use crate::callers::number;
use crate::checker::left_alone;
use crate::douyin::app_id;
use crate::gateway::Running;
use crate::link::{self, Heard};
use crate::mutations::is_final;
use crate::rules::Rule;
use crate::systems::{AGENCY, GUARANTEED};
use crate::world::World;

/// Asks for orders and settles that may not be recorded here, as support staff do.
pub async fn curious(world: World) {
    while !world.is_calm() {
        tokio::time::sleep(world.below_time(Duration::from_secs(60))).await;
        let intent = world.below(world.plan().intents);
        let Some(known) = world.checker().intent(intent) else { return };
        use v1::query_settles_request::Key;
        let key = match world.below(2) {
            0 if known.system != GUARANTEED => Key::OutOrderNo(known.out_order_no),
            _ => Key::OutSettleNo(number(intent, world.below(2))),
        };
        // Of an order it may ask for what Douyin settles there, which begins with that.
        let asks_agency = matches!(key, Key::OutOrderNo(_))
            && world.plan().configured().contains(&AGENCY)
            && world.coin();
        let system = if asks_agency { AGENCY } else { known.system };
        let request = v1::QuerySettlesRequest {
            app_id: known.app_id,
            trade_system: system.asked(),
            key: Some(key),
        };
        let begun = world.elapsed();
        let heard = link::call(&world, "curious", request, Duration::from_secs(10)).await;
        if let Heard::Answer(answer) = heard {
            for settle in &answer.settles {
                world.checker().saw(&world, [begun, begun], settle);
            }
        }
    }
}

/// Compares every record with Douyin's books, once everything has ended here and there.
pub async fn audit(world: &World, limit: Duration) {
    loop {
        let Some(listed) = list(world).await else { return };
        let open = |settle: &v1::Settle| !is_final(settle.state()) && !left_alone(world, settle);
        let at_douyin = {
            let douyin = world.douyin();
            let mut settles = douyin.core.settles();
            settles.any(|settle| !settle.status.is_final())
        };
        if world.elapsed() > limit || !(at_douyin || listed.iter().any(open)) {
            break;
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
        world.books_changed();
    }
    let Some(listed) = list(world).await else { return };
    hold_against_books(world, &listed).await;
    idle(world).await;
}

/// Every recorded settle.
async fn list(world: &World) -> Option<Vec<v1::Settle>> {
    let mut listed = Vec::new();
    for app in 0..world.plan().apps {
        let mut page_token = String::new();
        loop {
            let request = v1::ListSettlesRequest {
                app_id: app_id(app),
                page_size: 3,
                page_token: page_token.clone(),
                ..Default::default()
            };
            let page = ask(world, move |service: Service| async move {
                service.list_settles(Request::new(request)).await
            });
            let page = page.await?;
            listed.extend(page.settles);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
    }
    Some(listed)
}

async fn hold_against_books(world: &World, listed: &[v1::Settle]) {
    for settle in listed {
        let request = v1::GetSettleRequest {
            app_id: settle.app_id.clone(),
            trade_system: settle.trade_system,
            key: Some(v1::get_settle_request::Key::OutSettleNo(settle.out_settle_no.clone())),
            include_history: true,
            ..Default::default()
        };
        let begun = world.elapsed();
        let found = ask(world, move |service: Service| async move {
            service.get_settle(Request::new(request)).await
        });
        let Some(found) = found.await else { return };
        let settle = found.settle.expect("a get is answered with a settle");
        world.say("audit", || link::settle(Some(&settle)));
        let mut checker = world.checker();
        checker.saw(world, [begun, begun], &settle);
        checker.ended(world, &settle, &found.history);
    }
    world.checker().all_listed(world, listed);
}

/// The tasks of an idle gateway: the poller, the one that waits for the end of the store's writer,
/// the one that looks at the other replicas, the one that shares hints with them, and for each of
/// the four the task that watches it.
const TASKS_IDLE: usize = 8;

/// When all is over, a gateway has nothing else to do.
async fn idle(world: &World) {
    tokio::time::sleep(Duration::from_secs(120)).await;
    let running: Vec<Running> =
        world.slots().iter().filter_map(|slot| slot.running.clone()).collect();
    for Running { process, .. } in running.iter().filter(|one| one.process.is_alive()) {
        let tasks = process.tasks();
        if tasks > TASKS_IDLE && world.checker().left_to_a_person == 0 {
            world
                .violation(Rule::Limits, &format!("{} is left with {tasks} tasks", process.name()));
        }
    }
}

/// One call past all links, by the first replica that is up.
async fn ask<T, F, Fut>(world: &World, call: F) -> Option<T>
where
    T: Send + 'static,
    F: FnOnce(Service) -> Fut + Send + 'static,
    Fut: Future<Output = Result<Response<T>, Status>> + Send,
{
    let Some(Running { process, core, .. }) = up(world).await else {
        world.violation(Rule::Ends, "no gateway is up");
        return None;
    };
    let (answer, answered) = oneshot::channel();
    process.spawn(async move {
        let _ = answer.send(call(core.service).await);
    });
    match tokio::time::timeout(Duration::from_secs(600), answered).await {
        Ok(Ok(Ok(response))) => Some(response.into_inner()),
        other => {
            let what = match other {
                Ok(Ok(Err(status))) => format!("{status:?}"),
                Ok(Ok(Ok(_))) => "it was answered".to_owned(),
                Ok(Err(_)) | Err(_) => "no answer".to_owned(),
            };
            world.violation(Rule::Ends, &format!("the audit was refused: {what}"));
            None
        }
    }
}

/// A gateway that is up; one that is being started again is waited for.
async fn up(world: &World) -> Option<Running> {
    // After a restore none may be started for a while.
    tokio::time::sleep(world.closed_for()).await;
    for _ in 0..60 {
        if let Some(running) = link::replica_up(world) {
            return Some(running);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    None
}
