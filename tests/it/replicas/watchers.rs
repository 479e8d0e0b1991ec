//! Watchers on one replica hear of what another one learned.

use std::time::{Duration, Instant};

use douyin_sim::Status;
use settlement_gateway::proto::v1::watch_settle_response::Event;
use settlement_gateway::proto::v1::{ObservationSource, SettleState};
use tokio::task::JoinSet;

use super::fleet::{As, Fleet, Mode, Replica, in_each_mode, is_final, quantiles};
use crate::harness::{create_on, number, watch_request, within};

const DEADLINE: Duration = Duration::from_secs(10);
/// The interval at which a replica reads what is watched there, and what a busy machine takes.
pub const HEARD_WITHIN: Duration = Duration::from_secs(3);

/// Settles that are watched at once, and how far their ends are apart.
const TOGETHER: usize = 50;
const APART: Duration = Duration::from_millis(20);

/// How long watchers of one replica wait for what callbacks told another one, so many times.
/// Neither polls while a test runs.
pub async fn heard(fleet: &Fleet, here: &Replica, there: &Replica, times: usize) -> Vec<Duration> {
    fleet.calls_back(there);
    let mut heard = Vec::new();
    while heard.len() < times {
        let together = TOGETHER.min(times - heard.len());
        heard.extend(heard_together(fleet, here, there, together).await);
    }
    heard
}

async fn heard_together(
    fleet: &Fleet,
    here: &Replica,
    there: &Replica,
    settles: usize,
) -> Vec<Duration> {
    let mut creates = JoinSet::new();
    for _ in 0..settles {
        let number = number("heard");
        let request = create_on(&number, &format!("sim-hold-{number}"));
        creates.spawn(there.creating(request, DEADLINE));
    }
    let mut watched = Vec::new();
    for created in creates.join_all().await {
        let created = created.unwrap();
        let watch =
            here.client.clone().watch_settle(watch_request(&created.out_settle_no, 0)).await;
        let mut stream = watch.unwrap().into_inner();
        stream.message().await.unwrap().unwrap();
        watched.push((created, stream));
    }
    let mut ends = JoinSet::new();
    let mut numbers = Vec::new();
    for (created, mut stream) in watched {
        let told = Instant::now();
        assert!(fleet.sim.finish(created.settle_id(), Status::Success));
        ends.spawn(async move {
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
        });
        numbers.push(created.out_settle_no);
        tokio::time::sleep(APART).await;
    }
    let times = ends.join_all().await;
    for number in numbers {
        let sources = here.sources(&number).await;
        assert_eq!(sources.last(), Some(&ObservationSource::Callback), "{number}: {sources:?}");
    }
    times
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_hears_of_a_callback_that_another_replica_got() {
    in_each_mode(|mode| async move {
        let fleet = Fleet::new(mode).await;
        let [here, there] = without_polls(&fleet).await;
        let (median, p99) = quantiles(heard(&fleet, &here, &there, 200).await);
        println!("{mode:?}: a change to a watcher on another replica: {median:?}, p99 {p99:?}");
        // By a hint, or by the resync at the latest.
        if mode == Mode::Whole {
            assert!(median < Duration::from_millis(300), "{median:?}");
        }
        assert!(p99 < HEARD_WITHIN, "{p99:?}");
    })
    .await;
}

async fn without_polls(fleet: &Fleet) -> [Replica; 2] {
    let as_what = As { polls_rarely: true, ..As::default() };
    [fleet.start_as(0, &as_what).await, fleet.start_as(1, &as_what).await]
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
