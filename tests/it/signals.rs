//! What an orchestrator does to the process, and how it answers.

use tempfile::TempDir;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::{create_request, number, simulator, within};
use crate::process::{Process, Setting};

fn last_message(log: &str) -> String {
    let line = log.lines().last().expect("it logged something");
    let line: serde_json::Value = serde_json::from_str(line).expect("each line is JSON");
    line["message"].as_str().expect("each line has a message").to_owned()
}

#[tokio::test]
async fn a_process_that_is_told_to_stop_ends_well_and_says_so_last() {
    for signal in ["TERM", "INT"] {
        let (sim, dir) = (simulator().await, TempDir::new().unwrap());
        let gateway = Process::start(&sim, dir.path(), Setting::default()).await;
        let request = create_request(&number("before-stop"));
        within("CreateSettle", gateway.client.clone().create_settle(request)).await.unwrap();
        gateway.signal(signal).await;
        let (status, log) = gateway.ended().await;
        assert_eq!(status.code(), Some(0), "{signal}: {log}");
        assert_eq!(last_message(&log), "stopped gracefully", "{signal}");
    }
}

#[tokio::test]
async fn a_second_signal_ends_the_process_at_once() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    // Longer than any test waits: only the second signal can end it in time.
    let setting = Setting { drain_delay_ms: 300_000, ..Setting::default() };
    let gateway = Process::start(&sim, dir.path(), setting).await;
    let mut health = HealthClient::new(gateway.channel.clone());
    let statuses = health.watch(HealthCheckRequest::default()).await.unwrap();
    gateway.signal("TERM").await;
    gateway.logged("stopping: not serving any more").await;
    // While balancers notice, it still serves.
    let told = async {
        let mut statuses = statuses.into_inner();
        let mut seen = Vec::new();
        while seen.last() != Some(&ServingStatus::NotServing) || seen.len() < 2 {
            seen.push(statuses.message().await.unwrap().unwrap().status());
        }
    };
    within("NOT_SERVING", told).await;
    let request = create_request(&number("while-draining"));
    within("CreateSettle", gateway.client.clone().create_settle(request)).await.unwrap();
    gateway.signal("INT").await;
    let (status, log) = gateway.ended().await;
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(!log.contains("stopped"), "nothing was finished: {log}");
}

#[tokio::test]
async fn signals_that_mean_no_stop_end_nothing() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let gateway = Process::start(&sim, dir.path(), Setting::default()).await;
    for signal in ["USR1", "USR2"] {
        gateway.signal(signal).await;
        gateway.logged(&format!("\"signal\":\"SIG{signal}\"")).await;
    }
    gateway.signal("HUP").await;
    gateway.logged("the configuration was read again").await;
    // The kernel's word for a file that may not grow: its writer has heard of it already.
    gateway.signal("XFSZ").await;
    gateway.signal("PIPE").await;
    let request = create_request(&number("after-signals"));
    within("CreateSettle", gateway.client.clone().create_settle(request)).await.unwrap();
    gateway.signal("TERM").await;
    let (status, log) = gateway.ended().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert_eq!(last_message(&log), "stopped gracefully");
}
