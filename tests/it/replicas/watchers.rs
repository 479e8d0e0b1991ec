//! Watchers on one replica hear of what another one learned.

use std::time::{Duration, Instant};

use douyin_sim::Status;
use settlement_gateway::proto::v1::SettleState;
use settlement_gateway::proto::v1::watch_settle_response::Event;

use super::fleet::{Fleet, Mode, Replica, in_each_mode, is_final, quantiles};
use crate::harness::{create_on, number, watch_request, within};

const DEADLINE: Duration = Duration::from_secs(10);

/// How long a watcher of one replica waits for what a callback told another one.
pub async fn until_heard(fleet: &Fleet, here: &Replica, there: &Replica) -> Duration {
    fleet.calls_back(there);
    let number = number("heard");
    let order = format!("sim-hold-{number}");
    let created = there.create(create_on(&number, &order), DEADLINE).await.unwrap();
    let watch = here.client.clone().watch_settle(watch_request(&number, 0)).await;
    let mut stream = watch.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    let told = Instant::now();
    assert!(fleet.sim.finish(created.settle_id(), Status::Success));
    let ending = async {
        loop {
            let message = stream.message().await.unwrap().expect("the end comes first");
            if let Some(Event::Settle(settle)) = message.event
                && is_final(settle.state())
            {
                return settle.state();
            }
        }
    };
    assert_eq!(within("the end", ending).await, SettleState::Succeeded);
    told.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_hears_of_a_callback_that_another_replica_got() {
    in_each_mode(|mode| async move {
        let fleet = Fleet::new(mode).await;
        let replicas = fleet.start_all(2).await;
        let [here, there] = &replicas[..] else { unreachable!() };
        // By a hint, or by the resync, which takes up to a second.
        let (times, most) = match mode {
            Mode::Whole => (30, Duration::from_millis(300)),
            Mode::Plain => (10, Duration::from_millis(1_200)),
        };
        let mut heard = Vec::new();
        for _ in 0..times {
            heard.push(until_heard(&fleet, here, there).await);
        }
        let (median, p99) = quantiles(heard);
        println!("{mode:?}: a change to a watcher on another replica: {median:?}, p99 {p99:?}");
        assert!(median < most, "{median:?}");
    })
    .await;
}

/// Its worker is elsewhere and does not know of the watcher.
#[tokio::test(flavor = "multi_thread")]
async fn a_watched_settle_is_looked_at_often_whichever_replica_works_on_it() {
    in_each_mode(|mode| async move {
        let fleet = Fleet::new(mode).await;
        let replicas = fleet.start_all(2).await;
        let [here, there] = &replicas[..] else { unreachable!() };
        let number = number("polled");
        // No callback tells of it.
        let deadline = Duration::from_secs(5);
        let created = there
            .create(create_on(&number, &format!("sim-quiet-{number}")), deadline)
            .await
            .unwrap();
        assert!(!is_final(created.state()));
        assert_eq!(here.end(&number).await.state(), SettleState::Succeeded);
    })
    .await;
}
