//! Calls that begin and do not go on.

use settlement_gateway::proto::v1;
use tempfile::TempDir;
use tonic::Request;

use super::{BUDGET, Frames};
use crate::harness::{create_request, number, simulator, within};
use crate::process::{Process, Setting};

const CREATE: &str = "/douyin.settlement.v1.SettlementService/CreateSettle";
const TOKEN: &str = "of-the-shop-0123456789abcdef0123456789";

fn bearing(request: v1::CreateSettleRequest) -> Request<v1::CreateSettleRequest> {
    let mut request = Request::new(request);
    request.metadata_mut().insert("authorization", format!("Bearer {TOKEN}").parse().unwrap());
    request
}

/// Less than the strangers begin.
const CALLS_MAX: &str = "calls_max = 500\n";

async fn flood(gateway: &Process) -> Vec<Frames> {
    let mut strangers = Vec::new();
    for _ in 0..2 {
        let mut stranger = Frames::open(&gateway.url()).await;
        stranger.greet().await;
        stranger.begin(CREATE, 1_024).await;
        strangers.push(stranger);
    }
    strangers
}

async fn creates_succeed(gateway: &Process) {
    for _ in 0..50 {
        let request = bearing(create_request(&number("honest")));
        let mut client = gateway.client.clone();
        within("CreateSettle", client.create_settle(request))
            .await
            .expect("strangers take no caller's place");
    }
}

#[tokio::test]
async fn strangers_without_a_token_take_no_place_of_callers_with_one() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let tokens = dir.path().join("tokens");
    std::fs::write(&tokens, TOKEN).unwrap();
    let more = format!("{BUDGET}caller_tokens_file = \"{}\"\n", tokens.display());
    let setting = Setting { more, server: CALLS_MAX.to_owned(), ..Setting::default() };
    let gateway = Process::start(&sim, dir.path(), setting).await;
    let strangers = flood(&gateway).await;
    creates_succeed(&gateway).await;
    drop(strangers);
}

#[tokio::test]
async fn calls_whose_requests_do_not_come_take_no_place_of_others() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let (more, server) = (BUDGET.to_owned(), CALLS_MAX.to_owned());
    let setting = Setting { more, server, ..Setting::default() };
    let gateway = Process::start(&sim, dir.path(), setting).await;
    let strangers = flood(&gateway).await;
    creates_succeed(&gateway).await;
    drop(strangers);
    creates_succeed(&gateway).await;
}
