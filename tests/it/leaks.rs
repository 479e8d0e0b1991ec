//! No secret stands in the log at its most verbose, in the audit or on standard output: not a
//! client secret, an access token, a caller's token (good or wrong), nor what a receiver gets.

use std::time::Duration;

use douyin_sim::{CallbackScript, OrderSetup, Status};
use settlement_gateway::callers::Fingerprint;
use settlement_gateway::proto::v1;
use settlement_gateway::proto::v1::operator_service_client::OperatorServiceClient;
use tempfile::TempDir;

use crate::audit::{audited, bearing};
use crate::errors_own::resolve_request;
use crate::harness::{APP_ID, SECRET, create_on, simulator, within};
use crate::process::{Outlet, Process, Setting, database};

const SHOP: &str = "of-the-shop-0123456789abcdef0123456789";
const OPERATOR: &str = "of-an-operator-0123456789abcdef0123456789";
const WRONG: &str = "sg_a-stolen-token-of-another-gateway-0123456789";
/// In no other number of a run.
const AMOUNT_FEN: i64 = 73_519_846;

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_run_at_trace_shows_no_secret_no_token_and_no_receivers_amount() {
    let sim = simulator().await;
    let dir = TempDir::new().unwrap();
    let keys = dir.path().join("keys.pem");
    std::fs::write(&keys, sim.platform_public_key_pem(APP_ID)).unwrap();
    let (audit, printed) = (dir.path().join("audit.jsonl"), dir.path().join("stdout"));
    let (stdout, log) = (Outlet::File(printed.clone()), dir.path().join("log"));
    let setting = Setting {
        // Every target, those of libraries too.
        log: Some("trace"),
        server: format!(
            "{}[[callers]]\nname = \"operator\"\nrights = [\"operate\"]\ntoken_sha256 = [\"{}\"]\n",
            audited(audit.to_str().unwrap()),
            Fingerprint::of(OPERATOR)
        ),
        platform_keys: Some(keys),
        stdout,
        stderr: Outlet::Read,
        ..Setting::default()
    };
    let gateway = Process::start(&sim, dir.path(), setting).await;
    sim.set_callback_url(APP_ID, Some(&gateway.callback_url()));
    sim.script_callback("s-1", vec![CallbackScript::Twice]);
    for order in ["sim-hold-1", "sim-lost-1"] {
        let rich = OrderSetup { total_fen: 2 * AMOUNT_FEN, ..OrderSetup::default() };
        sim.set_order(APP_ID, order, rich);
    }
    let mut client = gateway.client.clone();
    let create = |number: &str, order: &str| {
        let mut request = create_on(number, order);
        request.settle_params[0].amount_fen = AMOUNT_FEN;
        request
    };
    // Taken, refused, unknown at first, in conflict; and by callers who may not.
    let mut created = Vec::new();
    for (number, order, token) in [
        ("s-1", "sim-hold-1", SHOP),
        ("s-1", "sim-hold-1", SHOP),
        ("s-2", "sim-err-23102-1", SHOP),
        ("s-3", "sim-lost-1", SHOP),
        ("s-1", "another", SHOP),
        // Douyin's refusal names the amount, which is more than the order has.
        ("s-4", "poor", SHOP),
        ("s-5", "o-5", WRONG),
    ] {
        let call = client.create_settle(bearing(create(number, order), token));
        created.push(within("CreateSettle", call).await.map(tonic::Response::into_inner));
    }
    let settle = created[0].as_ref().unwrap().settle.clone().unwrap();
    let failed = |at: usize| created[at].as_ref().unwrap_err().message().to_owned();
    assert!(failed(5).contains(&AMOUNT_FEN.to_string()), "{}", failed(5));
    assert!([2, 4, 6].into_iter().all(|at| !failed(at).is_empty()));
    let key = Some(v1::get_settle_request::Key::OutSettleNo("s-1".to_owned()));
    let get =
        v1::GetSettleRequest { key, refresh: true, include_history: true, ..Default::default() };
    for token in [SHOP, WRONG] {
        let _ = within("GetSettle", client.get_settle(bearing(get.clone(), token))).await;
        let list = v1::ListSettlesRequest { page_size: 1, ..Default::default() };
        let _ = within("ListSettles", client.list_settles(bearing(list, token))).await;
    }
    let watch = bearing(crate::harness::watch_request("s-1", 0), SHOP);
    let stream = within("WatchSettle", client.watch_settle(watch)).await.unwrap().into_inner();
    assert!(sim.finish(settle.settle_id(), Status::Success));
    crate::harness::drain(stream).await.unwrap();
    // Two words of Douyin's that contradict each other.
    assert!(sim.set_status(settle.settle_id(), Status::Fail));
    let mut operator = OperatorServiceClient::new(gateway.channel.clone());
    let decision = || resolve_request("s-1");
    for token in [WRONG, SHOP] {
        let refused = operator.resolve_contradiction(bearing(decision(), token));
        within("ResolveContradiction", refused).await.unwrap_err();
    }
    let decided = async {
        loop {
            let _ = client.get_settle(bearing(get.clone(), SHOP)).await;
            let resolve = operator.resolve_contradiction(bearing(decision(), OPERATOR));
            if resolve.await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within("an operator's decision", decided).await;
    let key = Some(v1::show_settle_request::Key::OutSettleNo("s-1".to_owned()));
    let show = v1::ShowSettleRequest { key, ..Default::default() };
    within("ShowSettle", operator.show_settle(bearing(show, OPERATOR))).await.unwrap();
    let counted = async {
        let taken =
            "settlement_callbacks_total{app_id=\"tt0123456789abcdef\",result=\"acknowledged\"}";
        while gateway.counted(taken).await == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within("a callback", counted).await;
    let tokens = access_tokens(dir.path());
    let metrics = gateway.metrics().await;
    gateway.signal("TERM").await;
    let (status, logged) = gateway.ended().await;
    assert!(status.success());
    std::fs::write(&log, &logged).unwrap();
    // It did log what it was asked for, and libraries did too.
    for wanted in ["\"level\":\"TRACE\"", "\"target\":\"h2::", "\"target\":\"hyper", "s-1"] {
        assert!(logged.contains(wanted), "the log lacks {wanted}");
    }
    let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
    let shown = [
        ("log", logged),
        ("audit", read(&audit)),
        ("stdout", read(&printed)),
        ("metrics", metrics),
    ];
    assert!(shown[1].1.contains("\"what\":\"decision\""), "{}", shown[1].1);
    let mut secrets = [SECRET, SHOP, OPERATOR, WRONG].map(str::to_owned).to_vec();
    secrets.push(AMOUNT_FEN.to_string());
    secrets.push("73_519_846".to_owned());
    secrets.extend(tokens);
    for secret in secrets {
        // As text, and as libraries print bytes that they do not understand.
        let bytes: Vec<String> = secret.bytes().map(|byte| byte.to_string()).collect();
        for form in [secret.clone(), bytes.join(", "), hex::encode(&secret)] {
            for (place, text) in &shown {
                let line = text.lines().find(|line| line.contains(&form));
                let line = line.map(|line| line.chars().take(2_000).collect::<String>());
                assert_eq!(line, None, "{secret} stands in the {place}");
            }
        }
    }
}

/// The access tokens that the gateway has fetched, from its database.
fn access_tokens(dir: &std::path::Path) -> Vec<String> {
    let file = rusqlite::Connection::open(database(dir)).unwrap();
    let mut read = file.prepare("SELECT access_token FROM token").unwrap();
    let tokens = read.query_map([], |row| row.get(0)).unwrap();
    let tokens: Vec<String> = tokens.map(Result::unwrap).collect();
    assert!(!tokens.is_empty(), "it has fetched one");
    tokens
}
