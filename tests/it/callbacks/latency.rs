//! How soon a watcher learns what a callback told.

use std::time::{Duration, Instant};

use douyin_sim::Status;
use settlement_gateway::proto::v1::{self, SettleState};

use super::{Letter, spawn, success};
use crate::harness::{APP_ID, create_on, number, watch_request, within};

const SETTLES: usize = 200;

/// The watcher's message and the acknowledgement leave together, right after the commit: neither
/// waits for a poll, a resync or a timer.
#[tokio::test]
async fn a_watcher_learns_the_end_as_soon_as_the_callback_is_acknowledged() {
    let gateway = spawn().await;
    gateway.sim.set_callback_url(APP_ID, None);
    let client = reqwest::Client::new();
    let (mut since_sent, mut since_acknowledged) = (Vec::new(), Vec::new());
    for _ in 0..SETTLES {
        let number = number("latency");
        let settle =
            gateway.create(create_on(&number, &format!("sim-hold-{number}"))).await.unwrap();
        let mut stream = gateway.watch(watch_request(&number, settle.revision)).await.unwrap();
        // The current revision is known: a heartbeat says that the watch is open.
        within("the heartbeat", stream.message()).await.unwrap().unwrap();
        let letter = Letter::about(&gateway.sim, settle.settle_id(), Status::Success);
        let sent = Instant::now();
        let watcher = tokio::spawn(async move {
            let message = within("the end", stream.message()).await.unwrap().unwrap();
            (Instant::now(), message)
        });
        assert_eq!(letter.deliver_by(&client, &gateway).await, success());
        let acknowledged = Instant::now();
        let (told, message) = watcher.await.unwrap();
        let Some(v1::watch_settle_response::Event::Settle(end)) = message.event else {
            panic!("{message:?}");
        };
        assert_eq!(end.state(), SettleState::Succeeded);
        since_sent.push(told - sent);
        since_acknowledged.push(told.saturating_duration_since(acknowledged));
    }
    for (name, mut times) in [("sent", since_sent), ("acknowledged", since_acknowledged)] {
        times.sort();
        let (median, p99) = (times[SETTLES / 2], times[SETTLES * 99 / 100]);
        println!("from callback {name} to watcher: median {median:?}, p99 {p99:?}");
        // Far below every timer that could have brought the news instead.
        assert!(median < Duration::from_millis(500), "{name}: {median:?}");
    }
}
