//! Watchers on one replica hear of what another one learned.

use std::time::{Duration, Instant};

use douyin_sim::Status;
use settlement_gateway::proto::v1::SettleState;
use settlement_gateway::proto::v1::watch_settle_response::Event;

use super::fleet::{Fleet, MODES, Mode, is_final, quantiles};
use crate::harness::{create_on, number, watch_request, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_hears_of_a_callback_that_another_replica_got() {
    for mode in MODES {
        let fleet = Fleet::new(mode).await;
        let replicas = fleet.start_all(2).await;
        let [here, there] = &replicas[..] else { unreachable!() };
        fleet.calls_back(there);
        let mut times = Vec::new();
        for _ in 0..30 {
            let number = number("callback");
            let deadline = Duration::from_secs(5);
            let created = there
                .create(create_on(&number, &format!("sim-hold-{number}")), deadline)
                .await
                .unwrap();
            let watch = here.client.clone().watch_settle(watch_request(&number, 0)).await;
            let mut stream = watch.unwrap().into_inner();
            let first = stream.message().await.unwrap().unwrap();
            assert!(matches!(first.event, Some(Event::Settle(_))), "{first:?}");
            let told = Instant::now();
            assert!(fleet.sim.finish(created.settle_id(), Status::Success));
            let last = async {
                loop {
                    let message = stream.message().await.unwrap().expect("the end comes first");
                    if let Some(Event::Settle(settle)) = message.event
                        && is_final(settle.state())
                    {
                        return settle;
                    }
                }
            };
            let last = within("the end", last).await;
            times.push(told.elapsed());
            assert_eq!(last.state(), SettleState::Succeeded);
        }
        let (median, p99) = quantiles(times);
        println!("{mode:?}: a change to a watcher on another replica: {median:?}, p99 {p99:?}");
        // By a hint, or by the resync.
        let most = if mode == Mode::Whole { 300 } else { 1_200 };
        assert!(median < Duration::from_millis(most), "{median:?}");
    }
}

/// Its worker is elsewhere and does not know of the watcher.
#[tokio::test(flavor = "multi_thread")]
async fn a_watched_settle_is_looked_at_often_whichever_replica_works_on_it() {
    for mode in MODES {
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
    }
}
