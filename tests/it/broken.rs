//! If an essential task ends by itself, which only a bug can do, the gateway stops: a process that
//! lived on without it would look healthy.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use settlement_gateway::server::{Server, Stopped};
use settlement_gateway::clock::Clock;
use settlement_gateway::douyin::PlatformKeys;
use settlement_gateway::tasks::{Runner, Task};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::harness::{APP_ID, config, simulator, within};
use crate::health;

/// In alphabetical order. An idle gateway runs nothing else, except the task that watches each of
/// them, which is started right after it.
const PARTS: [&str; 6] = [
    "admin listener",
    "callback listener",
    "gRPC server",
    "health",
    "poller",
    "the store's writer",
];

/// Counts the tasks that are started; the n-th of them (from 0) meets a bug at this moment.
fn panics(nth: usize, bug: &CancellationToken, started: &Arc<AtomicUsize>) -> Runner {
    let (bug, started) = (bug.clone(), Arc::clone(started));
    Runner::Within(Arc::new(move |task: Task| -> Task {
        if started.fetch_add(1, Ordering::Relaxed) != nth {
            return task;
        }
        let bug = bug.clone();
        Box::pin(async move {
            tokio::select! {
                () = task => {}
                () = bug.cancelled() => panic!("a bug, for a test"),
            }
        })
    }))
}

/// The part that panicked, as the gateway names it at its end.
async fn broken(nth: usize) -> &'static str {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let (bug, started) = (CancellationToken::new(), Arc::default());
    let mut config = config(sim.url(), dir.path().join("settlement.db"));
    let keys = PlatformKeys::parse(&sim.platform_public_key_pem(APP_ID)).unwrap();
    config.apps[0].platform_keys = Some(keys);
    config.gateway.runner = panics(2 * nth, &bug, &started);
    let server = Server::build(config, Clock::system()).await.unwrap();
    let url = format!("http://{}", server.addrs().grpc);
    let running = tokio::spawn(server.run(std::future::pending()));
    let mut statuses = health::watch(&health::client(&url), health::SERVICE).await;
    health::until(&mut statuses, ServingStatus::Serving).await;
    assert_eq!(started.load(Ordering::Relaxed), 2 * PARTS.len(), "a part is not listed");
    bug.cancel();
    let mut last = None;
    while let Ok(Some(answer)) = within("the health", statuses.message()).await {
        last = Some(answer.status());
    }
    let stopped = within("the end", running).await.unwrap();
    let Stopped::Broken { task } = stopped else { panic!("{nth}: {stopped:?}") };
    // A server that has ended sends no health to its watchers.
    assert!(last == Some(ServingStatus::NotServing) || task == "gRPC server", "{task}: {last:?}");
    task
}

#[tokio::test]
async fn each_part_without_which_the_gateway_cannot_serve_ends_it_when_it_panics() {
    let mut parts = Vec::new();
    for nth in 0..PARTS.len() {
        parts.push(broken(nth).await);
    }
    parts.sort_unstable();
    assert_eq!(parts, PARTS);
}
