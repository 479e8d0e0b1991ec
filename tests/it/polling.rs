//! When settles are looked at: never all together, with growing waits up to a cap, sooner while a
//! caller watches, and also those that were lost from the schedule.

use std::time::Duration;

use douyin_sim::Status;
use rusqlite::Connection;
use settlement_gateway::config::Config;
use settlement_gateway::proto::v1::{self, SettleState};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::harness::{Gateway, create_on, number, simulator, watch_request, within};
use crate::process::{Process, Setting, database};

/// One settle that does not end, and how often it has been looked at.
struct Held {
    number: String,
    settle_id: String,
}

impl Held {
    async fn create(gateway: &Gateway) -> Self {
        let number = number("held");
        let settle = gateway.create(create_on(&number, "sim-hold-1")).await.unwrap();
        Self { number, settle_id: settle.settle_id().to_owned() }
    }

    /// Looks within this time; a settle is asked for by either of its numbers.
    async fn looks(&self, gateway: &Gateway, during: Duration) -> usize {
        let count = || {
            let books = gateway.sim.books();
            books.queries(&self.number) + books.queries(&self.settle_id)
        };
        let before = count();
        tokio::time::sleep(during).await;
        count() - before
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settles_that_are_accepted_together_are_not_looked_at_together() {
    let tune: fn(&mut Config) = |config| {
        config.gateway.schedule.first = Duration::from_secs(10);
        config.gateway.schedule.watched_cap = Duration::from_secs(10);
        config.gateway.schedule.cap = Duration::from_secs(10);
    };
    let gateway = Gateway::spawn_with(simulator().await, tune).await;
    let mut creates = JoinSet::new();
    for _ in 0..40 {
        let (mut client, request) = (gateway.client.clone(), create_on(&number("crowd"), "o"));
        let request = v1::CreateSettleRequest { out_order_no: number("order"), ..request };
        creates.spawn(async move { client.create_settle(request).await.map(drop).unwrap() });
    }
    within("40 creates", creates.join_all()).await;
    let schedule = Connection::open(gateway.database()).unwrap();
    let waits = "SELECT due_at_ms - attempted_at_ms FROM settle WHERE due_at_ms IS NOT NULL";
    let mut rows = schedule.prepare(waits).unwrap();
    let waits: Vec<i64> =
        rows.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let (least, most) = (*waits.iter().min().unwrap(), *waits.iter().max().unwrap());
    assert_eq!(waits.len(), 40);
    assert!(least >= 8_000 && most <= 12_000, "{least} to {most} ms");
    // That forty draws leave out a quarter of the range on one side happens once in 100,000 runs.
    assert!(least < 9_000 && most > 11_000, "{least} to {most} ms");
}

#[tokio::test]
async fn looks_come_further_and_further_apart_up_to_the_cap() {
    let tune: fn(&mut Config) = |config| {
        config.gateway.schedule.first = Duration::from_millis(50);
        config.gateway.schedule.cap = Duration::from_millis(200);
    };
    let gateway = Gateway::spawn_with(simulator().await, tune).await;
    let held = Held::create(&gateway).await;
    // One each 200 ms, ± 20 %; one each 50 ms would be 60 of them, and without a cap 6.
    let looks = held.looks(&gateway, Duration::from_secs(3)).await;
    assert!((10..=22).contains(&looks), "{looks} looks");
}

#[tokio::test]
async fn a_settle_is_looked_at_sooner_while_it_is_watched_and_not_afterwards() {
    let tune: fn(&mut Config) = |config| {
        config.gateway.schedule.first = Duration::from_millis(100);
        config.gateway.schedule.watched_cap = Duration::from_millis(100);
        config.gateway.schedule.cap = Duration::from_secs(3_600);
    };
    let gateway = Gateway::spawn_with(simulator().await, tune).await;
    let held = Held::create(&gateway).await;
    // By then the next look is seconds away.
    let alone = held.looks(&gateway, Duration::from_secs(4)).await;
    assert!((3..=8).contains(&alone), "{alone} looks");
    let watch = gateway.watch(watch_request(&held.number, 0)).await.unwrap();
    let watched = held.looks(&gateway, Duration::from_secs(2)).await;
    assert!((8..=26).contains(&watched), "{watched} looks");
    drop(watch);
    // One is on its way, and the next ones are as far apart as they were.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let alone = held.looks(&gateway, Duration::from_secs(2)).await;
    assert!(alone <= 2, "{alone} looks");
}

#[tokio::test]
async fn a_settle_that_lost_its_place_in_the_schedule_is_found_and_told_and_reaches_its_end() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let more = "[poller]\nsweep_interval_ms = 100\n".to_owned();
    let gateway = Process::start(&sim, dir.path(), Setting { more, ..Setting::default() }).await;
    let number = number("lost");
    let create = gateway.client.clone().create_settle(create_on(&number, "sim-hold-1")).await;
    let settle = create.unwrap().into_inner().settle.unwrap();
    let hand = Connection::open(database(dir.path())).unwrap();
    hand.busy_timeout(Duration::from_secs(5)).unwrap();
    assert_eq!(hand.execute("UPDATE settle SET due_at_ms = NULL", []).unwrap(), 1);
    gateway.logged("repaired the schedule: please report this").await;
    assert!(sim.finish(settle.settle_id(), Status::Success));
    // There is no watcher, which would bring it back too.
    let ended = async {
        loop {
            let request = v1::GetSettleRequest {
                key: Some(v1::get_settle_request::Key::OutSettleNo(number.clone())),
                ..Default::default()
            };
            let answer = gateway.client.clone().get_settle(request).await.unwrap();
            if answer.into_inner().settle.unwrap().state() == SettleState::Succeeded {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within("its end", ended).await;
    gateway.signal("TERM").await;
    let (_, log) = gateway.ended().await;
    let line = log.lines().find(|line| line.contains("repaired the schedule")).unwrap();
    assert!(line.contains("\"missing\":1"), "{line}");
    assert!(line.contains("\"level\":\"ERROR\""), "{line}");
}
