//! Deadlines that end together while the process stands still.

use std::time::Duration;

use settlement_gateway::proto::v1::{self, SettleState};
use tempfile::TempDir;

use crate::harness::{create_on, create_request, drain, number, simulator, watch_request, within};
use crate::process::{Process, Setting};

/// HTTP/2's library closes a connection on which 20 calls were cancelled before it looked at them,
/// unless it is configured. Honest callers whose deadlines pass together would lose every call on
/// it.
#[tokio::test]
async fn calls_whose_deadlines_end_while_the_process_stands_still_end_no_connection() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let gateway = Process::start(&sim, dir.path(), Setting::default()).await;
    let watched = number("watched");
    let mut client = gateway.client.clone();
    let create = client.create_settle(create_on(&watched, "sim-hold-1"));
    let settle = within("CreateSettle", create).await.unwrap().into_inner().settle.unwrap();
    let watch = client.watch_settle(watch_request(&watched, 0));
    let watch = within("WatchSettle", watch).await.unwrap().into_inner();

    gateway.signal("STOP").await;
    let calls = (0..200).map(|_| {
        let mut client = gateway.client.clone();
        let mut request = tonic::Request::new(v1::ListSettlesRequest::default());
        request.set_timeout(Duration::from_millis(100));
        tokio::spawn(async move { client.list_settles(request).await })
    });
    for call in calls.collect::<Vec<_>>() {
        let late = within("the end of a deadline", call).await.unwrap();
        assert!(late.is_err(), "a process that stands still answers nothing");
    }
    gateway.signal("CONT").await;

    let next = within("CreateSettle", client.create_settle(create_request(&number("next")))).await;
    next.expect("the connection goes on");
    assert!(sim.finish(settle.settle_id(), douyin_sim::Status::Success));
    let seen = drain(watch).await.expect("the watch goes on, and ends well");
    assert_eq!(seen.last().unwrap().state(), SettleState::Succeeded);
}
