//! An operator stops sending and ends what is in doubt. Its word is told as Douyin's would be, and
//! stays true.

use std::time::Duration;

use settlement_gateway::gateway::{Decided, EndError, Name, Stopping};
use settlement_gateway::settle::{
    AppId, CallerName, End, Key, OutSettleNo, Record, Source, State, StateKind, TradeSystem, Why,
};

use super::world::Fault::{LostAnswer, LostRequest, Refuse};
use super::world::World;
use super::{HOUR, REFUSED, UNKNOWN, app_id, request};

fn decided() -> Decided {
    let why = Why::parse("Douyin's support says that it never came").unwrap();
    Decided { by: CallerName::parse("ops").ok(), why }
}

fn key(name: &str) -> Key {
    Key {
        app_id: AppId::parse(app_id(name)).unwrap(),
        trade_system: TradeSystem::General,
        out_settle_no: OutSettleNo::parse(name).unwrap(),
    }
}

async fn record(world: &World, name: &str) -> Record {
    world.core.gateway.get(&Name::Key(key(name))).await.unwrap().unwrap()
}

async fn end(world: &World, name: &str, revision: i64) -> Result<Record, EndError> {
    let key = key(name);
    let app = world.core.apps.get(&key.app_id).unwrap();
    world.core.gateway.end(app, &key, revision, End::Rejected, decided()).await
}

async fn stop(world: &World, name: &str, revision: i64) -> Result<Stopping, EndError> {
    world.core.gateway.stop_sending(&key(name), revision, decided()).await
}

/// Every condition is asked for, and what an operator ended is refused to its caller for ever.
#[tokio::test(start_paused = true)]
async fn what_an_operator_ended_is_refused_and_never_sent_again() {
    const NAME: &str = "ended";
    let world = World::new(vec![app_id(NAME)]).await;
    world.script(NAME, &[Refuse(23000), Refuse(23000)], &[]);
    assert_eq!(world.create(request(NAME), None).await, UNKNOWN);
    let seen = record(&world, NAME).await;
    let unstopped = end(&world, NAME, seen.revision).await;
    assert_eq!(unstopped, Err(EndError::NotStopped(Box::new(seen.clone()))));
    let another = stop(&world, NAME, seen.revision - 1).await.unwrap_err();
    assert_eq!(another, EndError::AnotherRevision(Box::new(seen.clone())));

    let Stopping { record: stopped, wait } = stop(&world, NAME, seen.revision).await.unwrap();
    assert_eq!(stopped.revision, seen.revision + 1);
    assert!(wait > Duration::from_secs(595) && wait <= Duration::from_secs(610), "{wait:?}");
    let twice = stop(&world, NAME, stopped.revision).await.unwrap();
    assert_eq!(twice.record, stopped, "a second stop decides nothing");
    let early = end(&world, NAME, stopped.revision).await;
    assert!(matches!(early, Err(EndError::TooEarly { .. })), "{early:?}");
    let sends = world.sends(NAME);
    world.pass(wait).await;
    let changed = end(&world, NAME, seen.revision).await.unwrap_err();
    assert!(matches!(changed, EndError::AnotherRevision(_)), "{changed:?}");
    let ended = end(&world, NAME, stopped.revision).await.unwrap();
    assert_eq!(ended.state.kind(), StateKind::Rejected);
    let again = end(&world, NAME, ended.revision).await.unwrap_err();
    assert_eq!(again, EndError::AlreadyFinal(Box::new(ended.clone())));

    let heard = world.create(request(NAME), None).await;
    assert_eq!((heard.word.as_str(), heard.reason.as_str()), (REFUSED, "ENDED_BY_OPERATOR"));
    world.pass(80 * HOUR).await;
    assert_eq!(world.create(request(NAME), None).await, REFUSED);
    assert_eq!(world.sends(NAME), sends, "nothing was sent after the stop");
    let history = world.core.gateway.history(&key(NAME)).await.unwrap();
    let last = history.last().unwrap();
    assert_eq!(last.source, Source::Operator);
    assert_eq!(last.by.as_ref().map(CallerName::as_str), Some("ops"));
    assert_eq!(last.why, Some(decided().why));
    assert_eq!(last.error.as_ref().unwrap().reason.as_str(), "ENDED_BY_OPERATOR");
}

/// The query that `end` makes finds what the operator did not.
#[tokio::test(start_paused = true)]
async fn what_douyin_shows_at_last_stands_against_the_operator() {
    const NAME: &str = "shown";
    let world = World::new(vec![app_id(NAME)]).await;
    world.script(NAME, &[LostAnswer, LostRequest], &[LostAnswer; 40]);
    assert_eq!(world.create(request(NAME), None).await, UNKNOWN);
    let seen = record(&world, NAME).await;
    let Stopping { record: stopped, wait } = stop(&world, NAME, seen.revision).await.unwrap();
    world.pass(wait).await;
    let now = record(&world, NAME).await;
    assert_eq!((now.state.kind(), now.revision), (StateKind::Submitting, stopped.revision));
    let unheard = end(&world, NAME, now.revision).await.unwrap_err();
    assert!(matches!(unheard, EndError::Query(_)), "{unheard:?}");
    world.script(NAME, &[], &[]);
    let shown = end(&world, NAME, now.revision).await.unwrap_err();
    let EndError::Shown(shown) = shown else { panic!("{shown:?}") };
    assert!(matches!(shown.state, State::Processing { .. } | State::Succeeded { .. }), "{shown:?}");
    let history = world.core.gateway.history(&key(NAME)).await.unwrap();
    let last = history.iter().find(|entry| entry.revision == shown.revision).unwrap();
    assert_eq!((last.source, &last.why), (Source::Query, &None), "Douyin decided");
    assert_eq!(last.by.as_ref().map(CallerName::as_str), Some("ops"), "who asked");
}

#[tokio::test(start_paused = true)]
async fn a_settle_that_douyin_follows_needs_no_operator() {
    const NAME: &str = "followed";
    let world = World::new(vec![app_id(NAME)]).await;
    assert_eq!(world.create(request(NAME), None).await, "OK");
    let seen = record(&world, NAME).await;
    if !seen.is_final() {
        let stopped = stop(&world, NAME, seen.revision).await.unwrap_err();
        assert_eq!(stopped, EndError::NotInDoubt(Box::new(seen)));
    }
    let unknown = world.core.gateway.stop_sending(&key("none"), 1, decided()).await;
    assert_eq!(unknown.unwrap_err(), EndError::NotFound);
}
