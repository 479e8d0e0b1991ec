//! What replicas share beside settles: beats, pauses, tokens and the turn to fetch them, hints, and
//! what changed of the settles that are watched.

use std::time::Duration;

use secrecy::ExposeSecret as _;

use super::Subject;
use super::fixtures::*;
use crate::settle::*;
use crate::store::{Changed, Fence, Hint, Known, NewDue, Replica, Store, StoredToken};

const SECOND: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(7);

fn replica(process: u64, beats: u64) -> Replica {
    let settings = format!("grace \"{process}\"");
    Replica { process: ProcessId(process), beats, settings }
}

async fn replicas(store: &Store) -> Vec<Replica> {
    let mut replicas = store.fleet().await.unwrap().replicas;
    replicas.sort_by_key(|replica| replica.process.0);
    replicas
}

pub(super) async fn a_process_shows_its_last_beat_until_it_is_removed(subject: Subject) {
    let store = &subject.store;
    assert_eq!(replicas(store).await, []);
    for beats in 1..4 {
        assert_eq!(store.beat(&replica(1, beats)).await, Ok(()));
    }
    assert_eq!(store.beat(&replica(u64::MAX, 9)).await, Ok(()));
    assert_eq!(replicas(store).await, [replica(1, 3), replica(u64::MAX, 9)]);
    // It was thought dead, and has beaten since.
    assert_eq!(store.remove_replica(&replica(1, 2)).await, Ok(()));
    assert_eq!(replicas(store).await.len(), 2);
    assert_eq!(store.remove_replica(&replica(1, 3)).await, Ok(()));
    assert_eq!(store.remove_replica(&replica(2, 1)).await, Ok(()));
    assert_eq!(replicas(store).await, [replica(u64::MAX, 9)]);
}

pub(super) async fn of_the_pauses_of_an_app_the_longest_is_shown_until_it_is_over(
    subject: Subject,
) {
    let store = &subject.store;
    let tell = async |app_id: &str, failure: &Failure, secs| {
        store.tell_pause(&app(app_id), failure, SECOND * secs).await.unwrap()
    };
    let (limited, rejected) = (failure(10_020), Failure::own(Reason::UpstreamUnreachable));
    assert_eq!(store.fleet().await.unwrap().pauses, []);
    let first = tell("tt01", &limited, 10).await.unwrap();
    assert_eq!(tell("tt01", &rejected, 9).await, None);
    assert_eq!(tell("tt01", &limited, 10).await, None, "told again");
    assert!(tell("tt02", &rejected, 3).await.is_some());
    let second = tell("tt01", &rejected, 20).await.unwrap();
    assert!(second > first);
    let shown = async |ms| {
        let pauses = at(store, after_ms(ms), store.fleet()).await.unwrap().pauses;
        let shown = pauses.into_iter().map(|pause| (pause.app_id, pause.failure, pause.left));
        shown.collect::<Vec<_>>()
    };
    let of_first = |secs| (app("tt01"), rejected.clone(), SECOND * secs);
    let of_second = (app("tt02"), rejected.clone(), SECOND);
    assert_eq!(shown(2_000).await, [of_first(18), of_second]);
    assert_eq!(shown(19_000).await, [of_first(1)]);
    assert_eq!(shown(20_000).await, []);
    let third = at(store, after_ms(20_000), tell("tt01", &limited, 1)).await;
    assert!(third.unwrap() > second, "also after the last one is over");
}

fn token(text: &str, age_secs: u32, left_secs: u32) -> StoredToken {
    let access_token = text.to_owned().into();
    StoredToken { access_token, age: Some(SECOND * age_secs), left: SECOND * left_secs }
}

async fn saved(store: &Store, ms: u64) -> Option<(String, Option<u64>, u64)> {
    let token = at(store, after_ms(ms), store.token(&app("tt01"))).await.unwrap()?;
    let text = token.access_token.expose_secret().to_owned();
    Some((text, token.age.map(|age| age.as_secs()), token.left.as_secs()))
}

pub(super) async fn the_token_saved_last_comes_back_older(subject: Subject) {
    let store = &subject.store;
    let mut turn = None;
    assert_eq!(saved(store, 0).await, None);
    for text in ["clt.first", "clt.second"] {
        turn = store.token_turn(&app("tt01"), turn, LEASE).await.unwrap();
        let saved_now = store.save_token(&app("tt01"), token(text, 2, 7_198), turn.unwrap()).await;
        assert_eq!(saved_now, Ok(true));
        assert_eq!(saved(store, 0).await, Some((text.to_owned(), Some(2), 7_198)));
    }
    let text = "clt.second".to_owned();
    assert_eq!(saved(store, 98_000).await, Some((text.clone(), Some(100), 7_100)));
    assert_eq!(saved(store, 9_000_000).await, Some((text, Some(9_002), 0)));
    assert!(store.token(&app("tt02")).await.unwrap().is_none());
    // The clock was set back, so the age of the token is not known.
    let then = before_ms(60_000);
    assert_eq!(at(store, then, store.token(&app("tt01"))).await.unwrap().unwrap().age, None);
}

pub(super) async fn one_process_at_a_time_has_the_turn_to_fetch_a_token(subject: Subject) {
    let store = &subject.store;
    let turn = async |ms, held| {
        at(store, after_ms(ms), store.token_turn(&app("tt01"), held, LEASE)).await.unwrap()
    };
    let first = turn(0, None).await.unwrap();
    assert_eq!(turn(6_999, None).await, None);
    assert!(store.token_turn(&app("tt02"), None, LEASE).await.unwrap().is_some(), "by app");
    assert_eq!(turn(6_999, Some(first)).await, Some(first), "whose it is keeps it");
    assert_eq!(turn(13_998, None).await, None);
    let second = turn(13_999, None).await.unwrap();
    assert!(second > first);
    assert_eq!(turn(14_000, Some(first)).await, None, "it has lost it");
    assert_eq!(store.end_token_turn(&app("tt01"), first).await, Ok(()));
    assert_eq!(turn(14_000, None).await, None, "only whose turn it is ends it");
    at(store, after_ms(14_000), store.end_token_turn(&app("tt01"), second)).await.unwrap();
    assert!(turn(14_000, None).await.unwrap() > second);
}

pub(super) async fn a_slow_fetch_never_replaces_a_newer_token(subject: Subject) {
    let store = &subject.store;
    let app_id = app("tt01");
    let slow = store.token_turn(&app_id, None, LEASE).await.unwrap().unwrap();
    let then = after_ms(8_000);
    let newer = at(store, then, store.token_turn(&app_id, None, LEASE)).await.unwrap().unwrap();
    let save = async |text, turn| {
        at(store, then, store.save_token(&app_id, token(text, 0, 7_200), turn)).await
    };
    assert_eq!(save("clt.slow", slow).await, Ok(false));
    assert_eq!(save("clt.newer", newer).await, Ok(true));
    assert_eq!(save("clt.slow", slow).await, Ok(false));
    assert_eq!(saved(store, 8_000).await.unwrap().0, "clt.newer");
    // To save gives the turn back.
    let next = at(store, then, store.token_turn(&app_id, None, LEASE)).await.unwrap();
    assert!(next.unwrap() > newer);
    assert_eq!(store.save_token(&app("tt02"), token("clt", 0, 1), Fence(1)).await, Ok(false));
}

pub(super) async fn of_concurrent_processes_one_gets_the_turn(subject: Subject) {
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let store = subject.store.clone();
        asking.spawn(async move { store.token_turn(&app("tt01"), None, LEASE).await.unwrap() });
    }
    let turns = asking.join_all().await.into_iter().flatten().count();
    assert_eq!(turns, 1);
}

pub(super) async fn a_hint_comes_to_all_that_listen(subject: Subject) {
    let store = &subject.store;
    let (mut one, mut two) = (store.hear(), store.hear());
    if !store.carries_hints() {
        assert_eq!(store.hint(vec![key("1")]), Ok(()));
        let silence = tokio::time::timeout(Duration::from_millis(200), one.next());
        assert!(silence.await.is_err(), "it goes nowhere");
        return;
    }
    let keys = vec![key("1"), key_of("tt02", "结算\"\\'1")];
    assert_eq!(store.hint(keys.clone()), Ok(()));
    for hearing in [&mut one, &mut two] {
        assert_eq!(*hearing.next().await, Hint::Changed(keys.clone()));
    }
    let mut later = store.hear();
    assert_eq!(store.hint(vec![key("2")]), Ok(()));
    for hearing in [&mut later, &mut two, &mut one] {
        assert_eq!(*hearing.next().await, Hint::Changed(vec![key("2")]));
    }
}

pub(super) async fn many_hints_at_once_all_come_or_are_said_to_be_lost(subject: Subject) {
    let store = &subject.store;
    let mut hearing = store.hear();
    if !store.carries_hints() {
        assert_eq!(store.hint(vec![key("1"); 1_000]), Ok(()));
        return;
    }
    let keys: Vec<Key> = (0..1_000).map(|n| key(&format!("{n:0>64}"))).collect();
    assert_eq!(store.hint(keys.clone()), Ok(()));
    let mut heard = Vec::new();
    while heard.len() < keys.len() {
        match &*hearing.next().await {
            Hint::Changed(keys) => heard.extend(keys.iter().cloned()),
            Hint::Lost => return,
        }
    }
    assert_eq!(heard, keys);
}

fn known(number: &str, version: i64) -> Known {
    Known { key: key(number), version }
}

pub(super) async fn what_changed_of_the_known_settles_is_told(subject: Subject) {
    let store = &subject.store;
    let day = Duration::from_hours(24);
    assert_eq!(store.changed(vec![], day).await, Ok(vec![]));
    for number in ["same", "changed", "merged"] {
        insert(store, &submitted(key(number)), due_then(after_ms(30_000))).await;
    }
    let record = store.get(&key("changed")).await.unwrap().unwrap();
    store.swap(fact(next(&record, |_| {}))).await.unwrap();
    let all = vec![known("same", 1), known("changed", 1), known("gone", 3), known("merged", 1)];
    let changed = |number: &str, version| Changed {
        key: key(number),
        version,
        due_in: version.map(|_| Duration::from_secs(30)),
    };
    let mut told = store.changed(all.clone(), day).await.unwrap();
    told.sort_by(|a, b| a.key.cmp(&b.key));
    assert_eq!(told, [changed("changed", Some(2)), changed("gone", None)]);
    let now_known = vec![known("same", 1), known("changed", 2), known("merged", 1)];
    assert_eq!(store.changed(now_known, day).await, Ok(vec![]));
}

pub(super) async fn what_is_not_looked_at_soon_is_told_unless_a_worker_looks_now(subject: Subject) {
    let store = &subject.store;
    insert(store, &submitted(key("late")), due_then(after_ms(30_001))).await;
    insert(store, &submitted(key("soon")), due_then(after_ms(30_000))).await;
    insert(store, &submitted(key("held")), leased_until(after_ms(60_000))).await;
    let succeeded = State::Succeeded { settle_id: settle_id("ots1") };
    insert(store, &adopted(key("final"), succeeded), NewDue::None).await;
    let all = || ["late", "soon", "held", "final"].map(|number| known(number, 1)).to_vec();
    let late = Changed { key: key("late"), version: Some(1), due_in: Some(SECOND * 30 + MS) };
    assert_eq!(store.changed(all(), SECOND * 30).await, Ok(vec![late]));
    assert_eq!(store.changed(all(), SECOND * 30 + MS).await, Ok(vec![]));
    assert_eq!(
        store.release(&key("held"), FIRST_FENCE, rest_until(after_ms(90_000))).await,
        Ok(true)
    );
    let told = store.changed(all(), SECOND * 60).await.unwrap();
    assert_eq!(told.iter().map(|told| &told.key).collect::<Vec<_>>(), [&key("held")]);
}

const MS: Duration = Duration::from_millis(1);

pub(super) async fn a_running_lease_shows_in_the_schedule(subject: Subject) {
    let store = &subject.store;
    insert(store, &submitted(key("held")), leased_until(after_ms(60_000))).await;
    let leased = async |ms| {
        let scheduled = at(store, after_ms(ms), store.scheduled(&key("held"))).await.unwrap();
        scheduled.unwrap().leased
    };
    assert_eq!(leased(0).await, Some(SECOND * 60));
    assert_eq!(leased(59_000).await, Some(SECOND));
    assert_eq!(leased(60_000).await, None);
    assert_eq!(store.release(&key("held"), FIRST_FENCE, rest_until(after_ms(1))).await, Ok(true));
    assert_eq!(leased(0).await, None);
}
