//! A callback arrives at the very moment when its record is merged into another one of the same
//! settle. The test controls each step of the store.

use std::sync::Arc;
use std::time::Duration;

use settlement_gateway::clock::Clock;
use settlement_gateway::config::Config;
use settlement_gateway::core::Core;
use settlement_gateway::gateway::Callback;
use settlement_gateway::settle::{
    AcceptedIds, AppId, Content, Context, Due, Facts, Fen, Key, Learned, Lease, MerchantUid,
    Observation, OutOrderNo, OutSettleNo, Permission, PermissionId, Policy, ProcessId, Record,
    Report, ReportedStatus, Request, Scope, SettleDesc, SettleId, SettleParam, Source, StateKind,
    TradeSystem, transition,
};
use settlement_gateway::store::{Absorbed, Committer, NewDue, Sqlite, SqliteOptions, Store, Swap};
use tokio::task::JoinHandle;

use crate::harness::{APP_ID, SECRET, app, within};

fn key(number: &str) -> Key {
    Key {
        app_id: AppId::parse(APP_ID).unwrap(),
        trade_system: TradeSystem::General,
        out_settle_no: OutSettleNo::parse(number).unwrap(),
    }
}

fn settle_id() -> SettleId {
    SettleId::parse("ots1").unwrap()
}

/// As a callback without an out_settle_no tells it.
fn nameless(status: ReportedStatus, word: &str) -> Report {
    let facts = Facts { settle_status: Some(word.to_owned()), ..Facts::default() };
    Report { settle_id: settle_id(), status, out_settle_no: None, item: None, facts }
}

/// A settle of ours whose create waits for its answer.
fn submitted(clock: &Clock) -> Record {
    let content = Content {
        out_order_no: OutOrderNo::parse("order-1").unwrap(),
        item_order_id: None,
        settle_desc: SettleDesc::parse("split").unwrap(),
        settle_params: vec![SettleParam {
            merchant_uid: MerchantUid::parse("7001").unwrap(),
            amount: Fen::new(1),
        }],
        ext: None,
        notify_url: None,
    };
    let ext = Some(content.mark());
    let end = clock.now().plus(Duration::from_secs(3_600));
    let request = Request::new(content, ext, "{}".to_owned(), end);
    let id = PermissionId { process: ProcessId(1), number: 0 };
    let lasts = Duration::from_secs(10);
    Record::submitted(key("ours"), request, Permission { id, time: clock.now(), lasts })
}

/// The same, accepted under the id that the callback named.
fn accepted(before: &Record, clock: &Clock) -> Record {
    let ids = AcceptedIds { settle_id: settle_id(), wallet_settle_id: None, inner_settle_id: None };
    let seen = Observation {
        learned: Learned::Accepted(ids),
        source: Source::Create,
        begun: clock.now(),
        scope: Scope::Single,
        answers: before.evidence.last_permission.map(|last| last.id),
        log_id: None,
        by: None,
    };
    let (now, policy) = (clock.now(), Policy::default());
    let (given, lease) = (Some(now), Lease::Lost);
    let context = Context { now, given, policy: &policy, lease, attempts: 1 };
    transition(before, &seen, &context).record
}

/// Waits until this many operations wait for their commit.
async fn queued(committer: &Committer, operations: usize) {
    let queued = async {
        while committer.queued() < operations {
            tokio::task::yield_now().await
        }
    };
    within("the operation to be queued", queued).await;
}

async fn finished<T>(committer: &mut Committer, task: JoinHandle<T>) -> T {
    let done = async {
        while !task.is_finished() {
            committer.commit_queued();
            tokio::task::yield_now().await;
        }
        task.await.unwrap()
    };
    within("the operation", done).await
}

/// It is acknowledged, so it must be somewhere.
#[tokio::test]
async fn a_callback_for_a_record_that_goes_up_in_another_is_kept_there() {
    let (dir, clock) = (tempfile::TempDir::new().unwrap(), Clock::system());
    let options = SqliteOptions {
        clock: clock.clone(),
        ..SqliteOptions::new(dir.path().join("settlement.db")).creating()
    };
    let (sqlite, mut committer) = Sqlite::open_stepped(&options).unwrap();
    let store = Store::Sqlite(Arc::new(sqlite));
    let app_id = AppId::parse(APP_ID).unwrap();
    let config = Config { apps: vec![app(APP_ID, SECRET)], ..Config::default() };
    let core = Core::build(config, store.clone(), None, clock.clone()).unwrap();
    let (gateway, app) = (core.gateway, core.apps.get(&app_id).map(Arc::clone).unwrap());

    let ours = submitted(&clock);
    let processing = nameless(ReportedStatus::Processing, "PROCESSING");
    let adopted = Record::adopted(key("ots1"), &processing, clock.now());
    for record in [&ours, &adopted] {
        let (store, record) = (store.clone(), record.clone());
        let insert =
            tokio::spawn(
                async move { store.insert(record, Source::Gateway, None, NewDue::None).await },
            );
        finished(&mut committer, insert).await.unwrap();
    }

    let callback = Callback {
        trade_systems: vec![TradeSystem::General],
        report: nameless(ReportedStatus::Success, "SUCCESS"),
        log_id: None,
    };
    let heard = tokio::spawn(async move { gateway.hear(&app, callback).await });
    queued(&committer, 1).await;
    // In the same batch, right behind it: the answer to our create.
    let swap = Swap {
        record: accepted(&ours, &clock),
        history: None,
        due: Due::Keep,
        lease: None,
        absorbed: Some(Absorbed {
            key: adopted.key.clone(),
            version: adopted.version,
            kept: Vec::new(),
        }),
    };
    let swapped = tokio::spawn({
        let store = store.clone();
        async move { store.swap(swap).await }
    });
    queued(&committer, 2).await;
    finished(&mut committer, swapped).await.unwrap();
    finished(&mut committer, heard).await.unwrap();
    assert_eq!(store.get(&adopted.key).await, Ok(None));
    let end = store.get(&ours.key).await.unwrap().unwrap();
    assert_eq!(end.state.kind(), StateKind::Succeeded);
}
