//! Operators who stop what is in doubt, ask Douyin after that, and end it with what is true there.
//! They call over the same bad links as callers, and several of them may be on one settle.

use std::time::Duration;

use douyin_sim::Status;
use settlement_gateway::proto::v1;
use settlement_gateway::proto::v1::{EndOutcome, SettleOrigin, SettleState};

use crate::callers::number;
use crate::checker::{Intent, undecidable};
use crate::faults::Fault;
use crate::link::{self, Heard};
use crate::mutations::{Broken, is_final};
use crate::systems;
use crate::world::World;

/// Looks at settles until faults are over, and follows those in doubt to their end.
pub async fn work(world: World, name: String) {
    while !world.is_calm() {
        tokio::time::sleep(world.below_time(Duration::from_secs(30))).await;
        let intent = world.below(world.plan().intents);
        let Some(known) = world.checker().intent(intent) else { continue };
        follow(&world, &name, &known, &number(intent, world.below(2))).await;
    }
}

/// What a look at a settle leads to.
enum Next {
    Over,
    Again,
}

async fn follow(world: &World, name: &str, intent: &Intent, number: &str) {
    while let Next::Again = look(world, name, intent, number).await {
        let longest = if world.is_calm() { 300 } else { 20 };
        tokio::time::sleep(world.below_time(Duration::from_secs(longest))).await;
    }
}

async fn look(world: &World, name: &str, intent: &Intent, number: &str) -> Next {
    let key = Some(v1::show_settle_request::Key::OutSettleNo(number.to_owned()));
    let (app_id, trade_system) = (intent.app_id.clone(), intent.system.asked());
    let request = v1::ShowSettleRequest { app_id, trade_system, key };
    let begun = world.elapsed();
    let shown = match link::call(world, name, request, Duration::from_secs(10)).await {
        Heard::Answer(shown) => shown,
        Heard::Error(status) => {
            let reason = link::metadata(&status).map(|(reason, _)| reason);
            let unknown = reason.as_deref() == Some("SETTLE_NOT_FOUND");
            return if unknown { Next::Over } else { Next::Again };
        }
        Heard::Nothing => return Next::Again,
    };
    let settle = shown.settle.expect("a settle is shown");
    let evidence = shown.evidence.expect("with its evidence");
    world.checker().saw(world, [begun, begun], &settle);
    let is_open = settle.state() == SettleState::Submitting || evidence.unanswered_sends > 0;
    if is_final(settle.state()) || settle.origin() == SettleOrigin::Platform || !is_open {
        return Next::Over;
    }
    let hopeless = Duration::from_secs(6 * 3_600);
    if world.calm_for().is_some_and(|calm| calm > hopeless) && undecidable(world, &settle) {
        return Next::Over;
    }
    if !evidence.sending_stopped || world.below(3) == 0 {
        stop(world, name, &settle).await;
    } else if let Some(word) = truth(world, &settle) {
        end(world, name, &settle, word).await;
    }
    Next::Again
}

async fn stop(world: &World, name: &str, settle: &v1::Settle) {
    world.count(Fault::Operator);
    let request = v1::StopSendingRequest {
        app_id: settle.app_id.clone(),
        trade_system: settle.trade_system,
        out_settle_no: settle.out_settle_no.clone(),
        revision: settle.revision,
        why: format!("{name}, ticket {}", world.below(2)),
    };
    link::call(world, name, request, Duration::from_secs(10)).await;
}

async fn end(world: &World, name: &str, settle: &v1::Settle, (outcome, id): (EndOutcome, String)) {
    let although_unanswered = world.plan().broken == Some(Broken::BlindOperator) || world.coin();
    let request = v1::EndSettleRequest {
        app_id: settle.app_id.clone(),
        trade_system: settle.trade_system,
        out_settle_no: settle.out_settle_no.clone(),
        revision: settle.revision,
        confirm_out_settle_no: settle.out_settle_no.clone(),
        outcome: outcome.into(),
        settle_id: id,
        why: format!("{name}, Douyin says so"),
        although_unanswered,
    };
    link::call(world, name, request, Duration::from_secs(60)).await;
}

/// What Douyin's support says of the number now. `None`: a settle of it is not at its end.
fn truth(world: &World, settle: &v1::Settle) -> Option<(EndOutcome, String)> {
    let nothing = (EndOutcome::Rejected, String::new());
    if world.plan().broken == Some(Broken::BlindOperator) {
        return Some(nothing);
    }
    world.books_changed();
    let douyin = world.douyin();
    let ours = douyin.core.settles().filter(|known| {
        known.by_gateway
            && known.app_id == settle.app_id
            && known.system == systems::of(settle).there
            && known.out_settle_no == settle.out_settle_no
            && known.out_order_no == settle.out_order_no()
    });
    let mut word = nothing;
    for known in ours {
        word = match known.status {
            Status::Init | Status::Processing => return None,
            Status::Success => return Some((EndOutcome::Succeeded, known.settle_id.clone())),
            Status::Fail => (EndOutcome::Failed, known.settle_id.clone()),
        };
    }
    Some(word)
}
