//! A commit that is kept although its answer is lost: what it recorded is read again and never
//! counted twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use settlement_gateway::clock::Clock;
use settlement_gateway::config::Config;
use settlement_gateway::core::Core;
use settlement_gateway::douyin::{Call, Reply, SendError, Transport};
use settlement_gateway::proto::v1::settlement_service_server::SettlementService as _;
use settlement_gateway::settle::{AppId, Key, OutSettleNo, StateKind, TradeSystem};
use settlement_gateway::store::{Committer, Sqlite, SqliteOptions, Store};
use tonic::{Code, Request};

use crate::harness::{APP_ID, SECRET, app, assert_create_error, create_request};

/// A Douyin that can lose an answer, or put the commit after an answer in doubt.
#[derive(Default)]
struct Douyin {
    sends: AtomicUsize,
    /// The next commit is kept, and its answer is lost.
    unheard: AtomicBool,
}

impl Douyin {
    fn answer(&self, call: &Call) -> Result<Reply, SendError> {
        if !call.path.contains("settle_create") {
            let token = json!({ "access_token": "token", "expires_in": 7200, "error_code": 0 });
            return Ok(said(&match call.path.contains("settle_query") {
                true => json!({ "err_no": 0, "err_msg": "", "data": [] }),
                false => json!({ "message": "success", "data": token }),
            }));
        }
        match self.sends.fetch_add(1, Ordering::SeqCst) {
            // It may have taken the money, so that the next one finds none.
            0 => Err(SendError::Lost("the wire was cut".to_owned())),
            _ => {
                self.unheard.store(true, Ordering::SeqCst);
                Ok(said(&json!({ "err_no": 23112, "err_msg": "no money", "log_id": "l" })))
            }
        }
    }
}

fn said(body: &Value) -> Reply {
    Reply { status: 200, log_id_header: None, content: Bytes::from(body.to_string()) }
}

async fn commit(mut committer: Committer, douyin: Arc<Douyin>) {
    loop {
        if committer.queued() > 0 && douyin.unheard.swap(false, Ordering::SeqCst) {
            committer.commit_queued_unheard();
        } else {
            committer.commit_queued();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The first send is unanswered, the second one refused, and the commit of that refusal in doubt.
/// Counted once it leaves the first send in doubt. Counted twice it would tell a refusal that is
/// none, and the caller would pay again under another number.
#[tokio::test(start_paused = true)]
async fn an_answer_whose_commit_was_kept_unheard_is_subtracted_once() {
    let (dir, clock) = (tempfile::TempDir::new().unwrap(), Clock::system());
    let options = SqliteOptions {
        clock: clock.clone(),
        ..SqliteOptions::new(dir.path().join("settlement.db")).creating()
    };
    let (sqlite, committer) = Sqlite::open_stepped(&options).unwrap();
    let store = Store::Sqlite(Arc::new(sqlite));
    let douyin = Arc::new(Douyin::default());
    let committing = tokio::spawn(commit(committer, Arc::clone(&douyin)));
    let answering = Arc::clone(&douyin);
    let transport = Transport::InProcess(Arc::new(move |call| {
        let answer = answering.answer(&call);
        Box::pin(async move { answer })
    }));
    let config = Config { apps: vec![app(APP_ID, SECRET)], ..Config::default() };
    let core = Core::build(config, store.clone(), Some(transport), clock).unwrap();
    core.drive();

    let create = || core.service.create_settle(Request::new(create_request("doubt")));
    let mut status = create().await.unwrap_err();
    // Such a store may have several processes, so this one first looks for the others.
    while status.code() == Code::ResourceExhausted {
        tokio::time::sleep(Duration::from_millis(50)).await;
        status = create().await.unwrap_err();
    }
    assert_eq!(douyin.sends.load(Ordering::SeqCst), 2, "{status:?}");
    assert!(!douyin.unheard.load(Ordering::SeqCst), "no commit was unheard");
    assert_create_error(&status, Code::FailedPrecondition, "NO_MONEY_TO_SETTLE", "unknown");
    let key = Key {
        app_id: AppId::parse(APP_ID).unwrap(),
        trade_system: TradeSystem::General,
        out_settle_no: OutSettleNo::parse("doubt").unwrap(),
    };
    let record = store.get(&key).await.unwrap().unwrap();
    assert_eq!((record.state.kind(), record.evidence.unanswered()), (StateKind::Submitting, 1));
    committing.abort();
}
