//! The scenarios of the sandbox and `conformance`, as far as no real client is needed;
//! tests/tools/examples.py has those.

use std::time::Duration;

use settlement_gateway::proto::v1::settlement_service_client::SettlementServiceClient;
use settlement_gateway::proto::v1::{CreateSettleRequest, Settle, SettleState, WatchSettleRequest};
use tempfile::TempDir;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::commands::{FREE_PORT, Running};
use crate::config::{gateway, ran};
use crate::harness::{create_request, details, drain, watch_request, within};
use crate::printed::assert_printed;

const NAMES: &str = "rotate, busy, slow, refuse, lost, restart";

async fn sandbox(scenario: &str, dir: &TempDir) -> (Running, SettlementServiceClient<Channel>) {
    let arguments = ["serve", "--sandbox", "--scenario", scenario];
    let gateway = Running::start(&arguments, &[FREE_PORT], dir, "gRPC ");
    let url = format!("http://{}", gateway.addr);
    let client = SettlementServiceClient::connect(url).await.unwrap();
    (gateway, client)
}

async fn create(
    client: &mut SettlementServiceClient<Channel>,
    number: &str,
) -> Result<Settle, Status> {
    let request = CreateSettleRequest { app_id: String::new(), ..create_request(number) };
    let mut request = Request::new(request);
    request.set_timeout(Duration::from_secs(2));
    let created = within("CreateSettle", client.create_settle(request)).await?;
    Ok(created.into_inner().settle.unwrap())
}

#[test]
fn the_documented_scenarios_are_those_of_the_code() {
    let (code, printed, _) = ran(&mut gateway(&["conformance", "--print-scenarios"], &[]));
    assert_eq!(code, 0);
    let begin = "<!-- printed by `settlement-gateway conformance --print-scenarios` -->\n\n";
    let end = "\n<!-- end of what is printed -->\n";
    assert_printed("docs/testing-your-client.md", begin, end, &printed);
}

#[test]
fn an_unknown_scenario_is_answered_with_the_names_of_all() {
    for command in [&["serve", "--sandbox"][..], &["conformance", "--client", "true"]] {
        let arguments = [command, &["--scenario", "no-such"]].concat();
        let (code, _, stderr) = ran(&mut gateway(&arguments, &[]));
        assert!(code == 64 && stderr.contains(NAMES), "{stderr}");
    }
    let (code, _, stderr) = ran(&mut gateway(&["serve", "--scenario", "lost"], &[]));
    assert!(code == 64 && stderr.contains("--sandbox"), "{stderr}");
}

/// The streams end as the contract says, and the last one brings the end.
#[tokio::test]
async fn streams_end_and_the_caller_who_resumes_learns_the_end() {
    let dir = TempDir::new().unwrap();
    let (_gateway, mut client) = sandbox("rotate", &dir).await;
    let mut settle = create(&mut client, "rotated").await.unwrap();
    let mut ends = Vec::new();
    while settle.state() == SettleState::Processing {
        let watch = watch_request("rotated", settle.revision);
        let watch = WatchSettleRequest { app_id: String::new(), ..watch };
        let stream = match within("WatchSettle", client.watch_settle(watch)).await {
            Ok(stream) => drain(stream.into_inner()).await,
            Err(status) => Err(status),
        };
        match stream {
            Ok(mut settles) => settle = settles.pop().unwrap(),
            Err(status) => ends.push(status),
        }
    }
    assert_eq!(settle.state(), SettleState::Succeeded);
    let reasons: Vec<_> = ends.iter().take(2).map(|end| details(end).info.reason).collect();
    assert_eq!(reasons, ["STREAM_ROTATED", "SERVER_DRAINING"]);
    assert!(ends.iter().skip(2).all(|end| end.details().is_empty()), "{ends:?}");
    assert!(ends.len() >= 5, "{ends:?}");
}

/// The course of each new number is the next one, and the last one of this scenario is a failure.
#[tokio::test]
async fn answers_are_lost_after_the_effect_and_a_repeat_finds_it() {
    let dir = TempDir::new().unwrap();
    let (gateway, mut client) = sandbox("lost", &dir).await;
    for course in 1..=6 {
        let number = format!("lost-{course}");
        let mut lost = 0;
        let settle = loop {
            match create(&mut client, &number).await {
                Ok(settle) => break settle,
                Err(status) => assert_ne!(status.code(), Code::Ok),
            }
            lost += 1;
        };
        assert!(lost >= usize::from(course != 5), "{course}: nothing was lost");
        let watch = WatchSettleRequest { app_id: String::new(), ..watch_request(&number, 0) };
        let stream = within("WatchSettle", client.watch_settle(watch)).await.unwrap();
        let settles = drain(stream.into_inner()).await.unwrap();
        let end = if course == 6 { SettleState::Failed } else { SettleState::Succeeded };
        assert_eq!(settles.last().unwrap().state(), end, "{course}: {settle:?}");
    }
    gateway.stopped(&dir);
}

/// What is recorded outlives the restarts, and so does the address.
#[tokio::test]
async fn a_gateway_that_restarts_keeps_its_address_and_its_settles() {
    let dir = TempDir::new().unwrap();
    let (gateway, mut client) = sandbox("restart", &dir).await;
    let mut broken = 0;
    while create(&mut client, "restarted").await.is_err() {
        broken += 1;
    }
    loop {
        let watch = watch_request("restarted", 0);
        let watch = WatchSettleRequest { app_id: String::new(), ..watch };
        let stream = match within("WatchSettle", client.watch_settle(watch)).await {
            Ok(stream) => drain(stream.into_inner()).await,
            Err(status) => Err(status),
        };
        match stream {
            Ok(settles) => {
                assert_eq!(settles.last().unwrap().state(), SettleState::Succeeded);
                break;
            }
            Err(_) => broken += 1,
        }
    }
    assert!(broken > 0, "it did not restart");
    gateway.stopped(&dir);
}

#[test]
fn a_client_that_does_not_pay_or_does_not_tell_the_truth_fails() {
    let judged = |client: &str| {
        let arguments = ["conformance", "--scenario", "busy", "--client", client];
        let (code, printed, _) = ran(&mut gateway(&arguments, &[]));
        assert_eq!(code, 1, "{printed}");
        assert!(printed.ends_with("FAILED: 1 of 1 scenarios: busy\n"), "{printed}");
        printed
    };
    let printed = judged("true");
    assert!(printed.contains("the client does not know the end"), "{printed}");
    let printed = judged("echo $OUT_SETTLE_NO; echo SUCCEEDED 120");
    assert!(printed.contains("not true: the gateway never heard of it"), "{printed}");
    // What a wrong client printed is shown.
    assert!(printed.contains("| settle-busy-1\n"), "{printed}");
}
