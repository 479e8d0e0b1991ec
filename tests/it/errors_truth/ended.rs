//! An operator stops sending and ends what is in doubt. Its word is told as Douyin's would be, and
//! stays true.

use std::time::Duration;

use settlement_gateway::gateway::{Decided, EndError, IfUnanswered, Name, Stopping, Word};
use settlement_gateway::proto::v1;
use settlement_gateway::settle::{
    AppId, CallerName, End, Key, OutSettleNo, Record, Source, State, StateKind, TradeSystem, Why,
};

use super::world::Fault::{Late, LostAnswer, LostRequest, Refuse};
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
    end_as(world, name, revision, End::Rejected, IfUnanswered::Refuse).await
}

async fn end_as(
    world: &World,
    name: &str,
    revision: i64,
    end: End,
    if_unanswered: IfUnanswered,
) -> Result<Record, EndError> {
    let key = key(name);
    let app = world.core.apps.get(&key.app_id).unwrap();
    let word = Word { revision, end, if_unanswered, decided: decided() };
    world.core.gateway.end(app, &key, word).await
}

/// The same, once no worker is on the settle.
async fn end_at_last(
    world: &World,
    name: &str,
    revision: i64,
    end: End,
    if_unanswered: IfUnanswered,
) -> Result<Record, EndError> {
    loop {
        match end_as(world, name, revision, end.clone(), if_unanswered).await {
            Err(EndError::TooEarly { wait }) => world.pass(wait).await,
            ended => return ended,
        }
    }
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
    assert_eq!(twice.record, stopped, "the same stop again decides nothing");
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

/// Between the question to Douyin and the operator's word another worker claims the settle.
#[tokio::test(start_paused = true)]
async fn an_operator_whose_settle_another_worker_took_over_meanwhile_comes_back() {
    const NAME: &str = "taken";
    let world = World::new(vec![app_id(NAME)]).await;
    world.script(NAME, &[Refuse(23000), Refuse(23000)], &[]);
    assert_eq!(world.create(request(NAME), None).await, UNKNOWN);
    let seen = record(&world, NAME).await;
    let Stopping { record: stopped, wait } = stop(&world, NAME, seen.revision).await.unwrap();
    world.pass(wait).await;
    world.script(NAME, &[], &[Late(1_000)]);
    let (ended, ()) = tokio::join!(end(&world, NAME, stopped.revision), async {
        world.pass(Duration::from_millis(500)).await;
        world.take_over(NAME);
    });
    assert_eq!(ended, Err(EndError::TooEarly { wait: Duration::from_secs(2) }));
    assert_eq!(record(&world, NAME).await, stopped, "the word did not count");
    let ended = end_at_last(&world, NAME, stopped.revision, End::Rejected, IfUnanswered::Refuse);
    assert_eq!(ended.await.unwrap().state.kind(), StateKind::Rejected);
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

fn by(name: &str, why: &str) -> Decided {
    Decided { by: CallerName::parse(name).ok(), why: Why::parse(why).unwrap() }
}

/// Each saw the same revision. Only one decision is recorded, and only its operator hears OK.
#[tokio::test(start_paused = true)]
async fn of_two_operators_who_stop_at_once_one_hears_that_the_settle_changed() {
    const NAME: &str = "two-operators";
    let world = World::new(vec![app_id(NAME)]).await;
    world.script(NAME, &[Refuse(23000), Refuse(23000)], &[]);
    assert_eq!(world.create(request(NAME), None).await, UNKNOWN);
    let seen = record(&world, NAME).await.revision;
    let (gateway, key) = (&world.core.gateway, key(NAME));
    let (alice, bob) = (by("alice", "ticket 1"), by("bob", "ticket 1"));
    let (first, second) = tokio::join!(
        gateway.stop_sending(&key, seen, alice),
        gateway.stop_sending(&key, seen, bob.clone())
    );
    let stopped = record(&world, NAME).await;
    let decided_by = stopped.decision.clone().unwrap().by.unwrap();
    let told = [("alice", first), ("bob", second)];
    for (name, told) in told {
        match told {
            Ok(stopping) => {
                assert_eq!((name, &stopping.record), (decided_by.as_str(), &stopped));
            }
            Err(error) => {
                assert_ne!(name, decided_by.as_str());
                assert_eq!(error, EndError::AnotherRevision(Box::new(stopped.clone())));
            }
        }
    }
    // The second one looks again, and its reason is kept too.
    let again = gateway.stop_sending(&key, stopped.revision, bob.clone()).await.unwrap();
    let history = gateway.history(&key).await.unwrap();
    let reasons = history.iter().filter(|entry| entry.why.is_some()).count();
    let expected = if decided_by.as_str() == "bob" { 1 } else { 2 };
    assert_eq!(reasons, expected, "{history:?}");
    assert_eq!(again.record.decision.unwrap().by, bob.by);
}

/// Douyin's answers cannot be read for ever: the operator asks Douyin's support after a stop that
/// was confirmed, and is believed.
#[tokio::test(start_paused = true)]
async fn a_settle_about_which_douyin_never_answers_is_ended_after_a_confirmed_stop() {
    const NAME: &str = "unanswered";
    let world = World::new(vec![app_id(NAME)]).await;
    world.script(NAME, &[LostRequest, LostRequest], &[LostAnswer; 4_000]);
    assert_eq!(world.create(request(NAME), None).await, UNKNOWN);
    let seen = record(&world, NAME).await;
    let Stopping { record: stopped, wait } = stop(&world, NAME, seen.revision).await.unwrap();
    let unanswered = async |revision| {
        end_at_last(&world, NAME, revision, End::Rejected, IfUnanswered::End).await
    };
    world.pass(wait).await;
    let refused =
        end_at_last(&world, NAME, stopped.revision, End::Rejected, IfUnanswered::Refuse).await;
    assert!(matches!(refused, Err(EndError::Query(_))), "{refused:?}");
    let unconfirmed = unanswered(stopped.revision).await;
    assert_eq!(unconfirmed, Err(EndError::NotConfirmed(Box::new(stopped.clone()))));
    let confirmed = stop(&world, NAME, stopped.revision).await.unwrap();
    assert_eq!((confirmed.record.revision, confirmed.wait), (stopped.revision + 1, Duration::ZERO));
    let old = unanswered(stopped.revision).await;
    assert!(matches!(old, Err(EndError::AnotherRevision(_))), "{old:?}");
    let ended = unanswered(confirmed.record.revision).await.unwrap();
    assert_eq!(ended.state.kind(), StateKind::Rejected);
    let heard = world.create(request(NAME), None).await;
    assert_eq!((heard.word.as_str(), heard.reason.as_str()), (REFUSED, "ENDED_BY_OPERATOR"));
}

/// The flag makes nothing true that Douyin denies.
#[tokio::test(start_paused = true)]
async fn an_answer_counts_also_if_none_was_needed() {
    const NAME: &str = "answered";
    let world = World::new(vec![app_id(NAME)]).await;
    world.script(NAME, &[LostAnswer, LostRequest], &[LostAnswer; 40]);
    assert_eq!(world.create(request(NAME), None).await, UNKNOWN);
    let seen = record(&world, NAME).await;
    let Stopping { record: stopped, wait } = stop(&world, NAME, seen.revision).await.unwrap();
    world.pass(wait).await;
    let revision = stop(&world, NAME, stopped.revision).await.unwrap().record.revision;
    let unheard = end_at_last(&world, NAME, revision, End::Rejected, IfUnanswered::Refuse).await;
    assert!(matches!(unheard, Err(EndError::Query(_))), "{unheard:?}");
    // No worker is on it now, and Douyin answers from now on.
    world.script(NAME, &[], &[]);
    let shown = end_as(&world, NAME, revision, End::Rejected, IfUnanswered::End).await.unwrap_err();
    let EndError::Shown(shown) = shown else { panic!("{shown:?}") };
    assert!(shown.state.settle_id().is_some(), "{shown:?}");
}

/// The id is mistyped, and is that of a settle that was adopted under it.
#[tokio::test(start_paused = true)]
async fn an_operators_settle_id_takes_no_other_settle_over() {
    const NAME: &str = "mistyped";
    const OTHER: &str = "other";
    let world = World::new(vec![app_id(NAME)]).await;
    let create = v1::CreateSettleRequest { app_id: app_id(NAME), ..request(OTHER) };
    assert_eq!(world.create(create, None).await, "OK");
    let other = Key { out_settle_no: OutSettleNo::parse(OTHER).unwrap(), ..key(NAME) };
    let recorded = world.core.gateway.get(&Name::Key(other.clone())).await.unwrap().unwrap();
    world.script(NAME, &[Refuse(23000), Refuse(23000)], &[]);
    assert_eq!(world.create(request(NAME), None).await, UNKNOWN);
    let seen = record(&world, NAME).await;
    let Stopping { record: stopped, wait } = stop(&world, NAME, seen.revision).await.unwrap();
    world.pass(wait).await;
    let settle_id = recorded.state.settle_id().unwrap().clone();
    let word = End::Succeeded { settle_id };
    let refused = end_at_last(&world, NAME, stopped.revision, word, IfUnanswered::Refuse).await;
    assert_eq!(refused, Err(EndError::AnotherSettle(other)));
    assert_eq!(record(&world, NAME).await.state, State::Submitting);
}
