//! A hundred thousand settles of one app, all due at once: other apps do not wait for them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use douyin_sim::SimApp;
use settlement_gateway::clock::Timestamp;
use settlement_gateway::config::Config;
use settlement_gateway::settle::{
    AppId, Facts, Key, OutSettleNo, Record, Report, ReportedStatus, SettleId, Source, TradeSystem,
};
use settlement_gateway::store::{NewDue, Sqlite, SqliteOptions, Store};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::harness::{Gateway, app, create_request, number, simulator_with};

const BACKLOGGED: &str = "ttbacklog";
const SETTLES: u32 = 100_000;

fn open_settle(i: u32) -> Record {
    let key = Key {
        app_id: AppId::parse(BACKLOGGED).unwrap(),
        trade_system: TradeSystem::General,
        out_settle_no: OutSettleNo::parse(format!("backlog-{i}")).unwrap(),
    };
    let report = Report {
        settle_id: SettleId::parse(format!("ots{i:09}")).unwrap(),
        status: ReportedStatus::Processing,
        out_settle_no: None,
        item: None,
        facts: Facts::default(),
    };
    Record::adopted(key, &report, Timestamp::from_ms(1))
}

async fn fill(dir: &TempDir) {
    let options = SqliteOptions::new(dir.path().join("settlement.db")).creating();
    let store = Store::Sqlite(Arc::new(Sqlite::open(options).unwrap()));
    let mut inserts = JoinSet::new();
    for i in 0..SETTLES {
        let store = store.clone();
        let due = NewDue::In(Duration::ZERO);
        inserts.spawn(async move { store.insert(open_settle(i), Source::Query, None, due).await });
        if inserts.len() >= 256 {
            inserts.join_next().await.unwrap().unwrap().unwrap();
        }
    }
    while let Some(inserted) = inserts.join_next().await {
        inserted.unwrap().unwrap();
    }
    store.close().await;
}

fn both(config: &mut Config) {
    config.apps.push(app(BACKLOGGED, "b"));
}

/// The median and the slowest of fifty creates.
async fn creates(gateway: &Gateway) -> (Duration, Duration) {
    let mut took = Vec::new();
    for _ in 0..50 {
        let began = Instant::now();
        gateway.create(create_request(&number("usual"))).await.unwrap();
        took.push(began.elapsed());
    }
    took.sort();
    (took[25], took[49])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_due_settles_of_one_app_delay_no_create_of_another() {
    let sim = simulator_with(|config| {
        config.apps.push(SimApp::new(BACKLOGGED, "b"));
    });
    let (sim, dir) = (sim.await, TempDir::new().unwrap());
    let empty = Gateway::start(sim.clone(), TempDir::new().unwrap(), both, 0).await;
    let usual = creates(&empty).await;
    drop(empty);
    fill(&dir).await;
    let gateway = Gateway::start(sim, dir, both, 0).await;
    let (began, before) = (Instant::now(), gateway.sim.books().queries_total());
    let backlogged = creates(&gateway).await;
    let queries = gateway.sim.books().queries_total() - before;
    println!(
        "create, median and slowest of 50: {usual:?} without, {backlogged:?} with {SETTLES} \
         settles due; {queries} queries in {:?}",
        began.elapsed()
    );
    assert!(backlogged.0 < usual.0 * 4 + Duration::from_millis(20), "{backlogged:?} {usual:?}");
    assert!(backlogged.1 < Duration::from_secs(1), "{backlogged:?}");
}
