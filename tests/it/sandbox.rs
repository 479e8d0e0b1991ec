//! The sandbox: a newcomer's first run, and how it keeps away from what is real.

use std::fs;

use settlement_gateway::proto::v1::settlement_service_client::SettlementServiceClient;
use settlement_gateway::proto::v1::{
    CreateSettleRequest, GetSettleRequest, ObservationSource, QuerySettlesRequest, SettleState,
    TradeSystem, WatchSettleRequest, get_settle_request, query_settles_request,
};
use tempfile::TempDir;
use tonic::Code;

use crate::commands::{APP, FREE_PORT, Running};
use crate::config::{gateway, ran};
use crate::harness::{create_request, drain, number, watch_request, within};

const SANDBOX: &[&str] = &["serve", "--sandbox"];
const ANEW: &[&str] = &["serve", "--sandbox", "--fresh"];
const REAL: &[&str] = &["serve"];

fn get_request(out_settle_no: String) -> GetSettleRequest {
    let key = Some(get_settle_request::Key::OutSettleNo(out_settle_no));
    GetSettleRequest { key, ..Default::default() }
}

/// A person with a real gateway's variables in the shell starts a sandbox to play.
#[test]
fn a_sandbox_never_calls_the_real_douyin() {
    for name in [
        "SETTLEMENT_DOUYIN_BASE_URL",
        "SETTLEMENT_DOUYIN_PROXY_URL",
        "SETTLEMENT_DEFAULT_APP",
        "SETTLEMENT_APPS_0_APP_ID",
    ] {
        let (code, _, stderr) =
            ran(&mut gateway(&["serve", "--sandbox"], &[(name, "https://open.douyin.com")]));
        assert_eq!(code, 64);
        assert!(
            stderr.contains(&format!("{name}: a sandbox brings its own; unset it")),
            "{stderr}"
        );
    }
    let by_variable = [("SETTLEMENT_CONFIG", "gateway.toml")];
    let (code, _, stderr) = ran(&mut gateway(&["serve", "--sandbox"], &by_variable));
    assert_eq!(code, 64);
    assert!(stderr.contains("cannot be used with"), "{stderr}");
}

#[test]
fn a_sandbox_takes_the_other_knobs() {
    let dir = TempDir::new().unwrap();
    let environment = [
        FREE_PORT,
        ("SETTLEMENT_STORE_SQLITE_PATH", "elsewhere.db"),
        // Lower than is safe with money.
        ("SETTLEMENT_SETTLE_VISIBILITY_GRACE_MS", "1000"),
    ];
    let _gateway = Running::start(SANDBOX, &environment, &dir, "gRPC ");
    assert!(dir.path().join("elsewhere.db").exists());
}

/// The first run of a newcomer: what is pasted ends by callback, and the history says so.
#[tokio::test]
async fn the_watch_of_the_first_run_ends_by_callback() {
    let dir = TempDir::new().unwrap();
    let gateway = Running::start(SANDBOX, &[FREE_PORT], &dir, "gRPC ");
    let url = format!("http://{}", gateway.addr);
    let mut client = SettlementServiceClient::connect(url).await.unwrap();
    let number = number("first-run");
    let request = CreateSettleRequest { app_id: String::new(), ..create_request(&number) };
    within("CreateSettle", client.create_settle(request)).await.unwrap();
    let watch = WatchSettleRequest { app_id: String::new(), ..watch_request(&number, 0) };
    let stream = within("WatchSettle", client.watch_settle(watch)).await;
    let settles = drain(stream.unwrap().into_inner()).await.unwrap();
    assert_eq!(settles.last().unwrap().state(), SettleState::Succeeded);
    let request = GetSettleRequest { include_history: true, ..get_request(number) };
    let got = within("GetSettle", client.get_settle(request)).await.unwrap().into_inner();
    let last = got.history.last().unwrap();
    assert_eq!(
        (last.state(), last.source()),
        (SettleState::Succeeded, ObservationSource::Callback)
    );
}

/// Its app has all that they need, and an order number chooses what happens in each.
#[tokio::test]
async fn a_sandbox_serves_every_trade_system() {
    let dir = TempDir::new().unwrap();
    let gateway = Running::start(SANDBOX, &[FREE_PORT], &dir, "gRPC ");
    let url = format!("http://{}", gateway.addr);
    let mut client = SettlementServiceClient::connect(url).await.unwrap();
    for system in [
        TradeSystem::General,
        TradeSystem::SelfOperated,
        TradeSystem::Industry,
        TradeSystem::Guaranteed,
    ] {
        let number = number("in-each");
        let request = CreateSettleRequest {
            app_id: String::new(),
            trade_system: system.into(),
            out_order_no: "sim-fail-1".to_owned(),
            ..create_request(&number)
        };
        let made = within("CreateSettle", client.create_settle(request)).await.unwrap();
        assert_eq!(made.into_inner().settle.unwrap().trade_system(), system);
        let watch = WatchSettleRequest {
            app_id: String::new(),
            trade_system: system.into(),
            ..watch_request(&number, 0)
        };
        let stream = within("WatchSettle", client.watch_settle(watch)).await;
        let settles = drain(stream.unwrap().into_inner()).await.unwrap();
        assert_eq!(settles.last().unwrap().state(), SettleState::Failed, "{system:?}");
    }
    // Where Douyin settles by itself, it does so once it is asked about the order.
    let request = QuerySettlesRequest {
        app_id: String::new(),
        trade_system: TradeSystem::Agency.into(),
        key: Some(query_settles_request::Key::OutOrderNo("sim-hold-1".to_owned())),
    };
    let found = within("QuerySettles", client.query_settles(request)).await.unwrap().into_inner();
    let [found] = &found.settles[..] else { panic!("{found:?}") };
    assert_eq!(found.trade_system(), TradeSystem::Agency);
    assert_eq!(found.state(), SettleState::Processing);
}

/// An operator plays in the folder of a real gateway, or mistakes one file for the other.
#[test]
fn neither_a_gateway_nor_a_sandbox_takes_the_database_of_the_other() {
    let dir = TempDir::new().unwrap();
    let in_dir = |arguments: &[&str], environment: &[(&str, &str)]| {
        ran(gateway(arguments, environment).current_dir(dir.path()))
    };
    let (code, _, stderr) = in_dir(&["init"], &[]);
    assert_eq!(code, 0, "{stderr}");
    let files = ["data/settlement.db", "data/sandbox.db"];
    let contents = |file: &str| fs::read(dir.path().join(file)).unwrap();
    let real = contents(files[0]);
    Running::start(SANDBOX, &[FREE_PORT], &dir, "gRPC ").stopped(&dir);
    assert!(contents(files[0]) == real, "the sandbox touched the real one");
    for (arguments, file, why) in [
        (REAL, files[1], "was written by a sandbox"),
        (SANDBOX, files[0], "may hold real settles"),
        (ANEW, files[0], "may hold real settles"),
    ] {
        let before = contents(file);
        let mut environment = vec![FREE_PORT, ("SETTLEMENT_SERVER_ADMIN_ADDR", "127.0.0.1:0")];
        environment.push(("SETTLEMENT_STORE_SQLITE_PATH", file));
        if arguments == REAL {
            environment.extend(APP);
        }
        let (code, _, stderr) = in_dir(arguments, &environment);
        assert_eq!(code, 1, "{stderr}");
        assert!(stderr.contains(&format!("{file} {why}")), "{stderr}");
        assert!(contents(file) == before, "{file} was changed");
    }
    for file in files {
        let (code, _, stderr) = in_dir(&["restored"], &[("SETTLEMENT_STORE_SQLITE_PATH", file)]);
        assert_eq!(code, 0, "{stderr}");
    }
    let (code, _, stderr) = in_dir(&["serve", "--fresh"], &APP);
    assert!(code == 64 && stderr.contains("--sandbox"), "{stderr}");
}

/// The simulator forgets when it stops, and the database does not.
#[tokio::test]
async fn a_sandbox_tells_of_settles_that_its_simulator_does_not_know_and_begins_anew_if_asked() {
    let (dir, number) = (TempDir::new().unwrap(), number("held"));
    let client = async |gateway: &Running| {
        SettlementServiceClient::connect(format!("http://{}", gateway.addr)).await.unwrap()
    };
    let told = |log: &str| {
        let lines = log.lines().filter(|line| line.contains("open settles of an earlier run"));
        let lines: Vec<_> = lines.map(str::to_owned).collect();
        assert!(lines.iter().all(|line| line.contains("--fresh")), "{log}");
        assert!(lines.iter().all(|line| line.contains("\"settles\":1")), "{log}");
        lines.len()
    };
    let first = Running::start(ANEW, &[FREE_PORT], &dir, "gRPC ");
    let request = CreateSettleRequest {
        app_id: String::new(),
        out_order_no: "sim-hold-1".to_owned(),
        ..create_request(&number)
    };
    within("CreateSettle", client(&first).await.create_settle(request)).await.unwrap();
    assert_eq!(told(&first.stopped(&dir)), 0);
    let second = Running::start(SANDBOX, &[FREE_PORT], &dir, "gRPC ");
    let got = client(&second).await.get_settle(get_request(number.clone())).await;
    assert_eq!(got.unwrap().into_inner().settle.unwrap().state(), SettleState::Processing);
    assert_eq!(told(&second.stopped(&dir)), 1);
    // It is killed, which leaves its log and its mark beside the database.
    drop(Running::start(SANDBOX, &[FREE_PORT], &dir, "gRPC "));
    let anew = Running::start(ANEW, &[FREE_PORT], &dir, "gRPC ");
    let got = client(&anew).await.get_settle(get_request(number)).await;
    assert_eq!(got.unwrap_err().code(), Code::NotFound);
    assert_eq!(told(&anew.stopped(&dir)), 0);
}
