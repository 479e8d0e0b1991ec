//! No secret stands in the log at its most verbose, in the audit or on standard output: not a
//! client secret, an access token, a caller's token (good or wrong), a private key or a proxy's
//! password (in force, replaced or refused), nor what a receiver gets.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use douyin_sim::{CallbackScript, OrderSetup, SANDBOX_APP_PRIVATE_KEY_PEM, Script, Status};
use settlement_gateway::proto::v1;
use settlement_gateway::proto::v1::operator_service_client::OperatorServiceClient;
use settlement_gateway::proto::v1::settlement_service_client::SettlementServiceClient;
use tempfile::TempDir;

use crate::audit::{QUICK, audited, bearing, operator as block, stop_and_end};
use crate::egress::Proxy;
use crate::errors_own::resolve_request;
use crate::harness::{APP_ID, SECRET, create_on, simulator, within};
use crate::process::{Outlet, Process, Setting, database};
use crate::reload::{APPLIED, REFUSED, counted};
use crate::tls::authority::{Authority, Issued};
use crate::tls::client::{Client, Ways};
use crate::tls::{Listener, write};

const SHOP: &str = "of-the-shop-0123456789abcdef0123456789";
const OPERATOR: &str = "of-an-operator-0123456789abcdef0123456789";
const WRONG: &str = "sg_a-stolen-token-of-another-gateway-0123456789";
const PROXY: &str = "gateway:of-the-proxy-0123456789abcdef0123456789";
const NEXT_PROXY: &str = "gateway:of-the-proxy-next-0123456789abcdef0123";
const BAD_PROXY: &str = "of-the-proxy-without-a-user-0123456789abcdef";
/// In no other number of a run.
const AMOUNT_FEN: i64 = 73_519_846;

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_run_at_trace_shows_no_secret_no_token_and_no_receivers_amount() {
    let (sim, proxy) = (simulator().await, Proxy::start_open().await);
    let dir = TempDir::new().unwrap();
    let keys = dir.path().join("keys.pem");
    std::fs::write(&keys, sim.platform_public_key_pem(APP_ID)).unwrap();
    let (audit, printed) = (dir.path().join("audit.jsonl"), dir.path().join("stdout"));
    let (stdout, log) = (Outlet::File(printed.clone()), dir.path().join("log"));
    let (listener, clients) = (Listener::new(dir.path(), "grpc"), Authority::new());
    let own = [(); 3].map(|()| listener.authority.issue(&["localhost"]));
    let [first, wrong, next] = &own;
    listener.present(first);
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (client_ca, credentials) = (file("client-ca.pem"), file("proxy-credentials"));
    let signing_key = file("app-private-key.pem");
    write(&signing_key, SANDBOX_APP_PRIVATE_KEY_PEM);
    write(&client_ca, &clients.pem());
    write(&credentials, PROXY);
    let setting = Setting {
        // Every target, those of libraries too.
        log: Some("trace"),
        douyin: format!(
            "{QUICK}proxy_url = \"http://{}\"\nproxy_credentials_file = {credentials:?}\n",
            proxy.address
        ),
        server: format!(
            "{}grpc_client_ca_file = {client_ca:?}\n{}{}",
            listener.knobs("grpc"),
            audited(audit.to_str().unwrap()),
            block("operator", OPERATOR)
        ),
        more: format!(
            "systems = [\"general\", \"industry\"]\nprivate_key_file = {signing_key:?}\n\
             key_version = \"1\"\n"
        ),
        platform_keys: Some(keys),
        stdout,
        stderr: Outlet::Read,
        ..Setting::default()
    };
    let gateway = Process::start(&sim, dir.path(), setting).await;
    sim.set_callback_url(APP_ID, Some(&gateway.callback_url()));
    sim.script_callback("s-1", vec![CallbackScript::Twice]);
    sim.script("s-7", vec![Script::Refuse(23000); 99]);
    for order in ["sim-hold-1", "sim-lost-1", "doubtful", "o-8"] {
        let rich = OrderSetup { total_fen: 2 * AMOUNT_FEN, ..OrderSetup::default() };
        sim.set_order(APP_ID, order, rich);
    }
    let shown = clients.issue(&["spiffe://corp/unknown"]);
    let tls = Client::new(&listener.authority, &Ways { shows: Some(&shown), ..Ways::default() });
    let channel = tls.channel(gateway.grpc_addr());
    let mut client = SettlementServiceClient::new(channel.clone());
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
        ("s-7", "doubtful", SHOP),
        // Douyin's refusal names the amount, which is more than the order has.
        ("s-4", "poor", SHOP),
        ("s-5", "o-5", WRONG),
    ] {
        let call = client.create_settle(bearing(create(number, order), token));
        created.push(within("CreateSettle", call).await.map(tonic::Response::into_inner));
    }
    let trade_system = v1::TradeSystem::Industry.into();
    let signed = v1::CreateSettleRequest { trade_system, ..create("s-8", "o-8") };
    let signed = client.create_settle(bearing(signed, SHOP));
    within("CreateSettle", signed).await.unwrap();
    let settle = created[0].as_ref().unwrap().settle.clone().unwrap();
    let failed = |at: usize| created[at].as_ref().unwrap_err().message().to_owned();
    assert!(failed(6).contains(&AMOUNT_FEN.to_string()), "{}", failed(6));
    assert!([2, 4, 5, 7].into_iter().all(|at| !failed(at).is_empty()));
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
    let mut operator = OperatorServiceClient::new(channel);
    let key = Some(v1::show_settle_request::Key::OutSettleNo("s-1".to_owned()));
    let show = v1::ShowSettleRequest { key, ..Default::default() };
    for token in [WRONG, SHOP] {
        let refused = operator.resolve_contradiction(bearing(resolve_request("s-1", 1), token));
        within("ResolveContradiction", refused).await.unwrap_err();
    }
    let decided = async {
        loop {
            let _ = client.get_settle(bearing(get.clone(), SHOP)).await;
            let shown = operator.show_settle(bearing(show.clone(), OPERATOR)).await.unwrap();
            let revision = shown.into_inner().settle.unwrap().revision;
            let decision = bearing(resolve_request("s-1", revision), OPERATOR);
            if operator.resolve_contradiction(decision).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within("an operator's decision", decided).await;
    stop_and_end(operator, "s-7", OPERATOR).await;
    let heard = async {
        let taken =
            "settlement_callbacks_total{app_id=\"tt0123456789abcdef\",result=\"acknowledged\"}";
        while gateway.counted(taken).await == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within("a callback", heard).await;
    // Refused, and replaced.
    let mixed = Issued { certificate: next.certificate.clone(), key: wrong.key.clone() };
    listener.present(&mixed);
    counted(&gateway, REFUSED, 1).await;
    let applied = gateway.counted(APPLIED).await;
    listener.present(next);
    counted(&gateway, APPLIED, applied + 1).await;
    let refused = gateway.counted(REFUSED).await;
    write(&credentials, BAD_PROXY);
    counted(&gateway, REFUSED, refused + 1).await;
    let applied = gateway.counted(APPLIED).await;
    write(&credentials, NEXT_PROXY);
    counted(&gateway, APPLIED, applied + 1).await;
    let after = client.create_settle(bearing(create("s-6", "o-6"), SHOP));
    let _ = within("CreateSettle", after).await;
    assert!(proxy.opened() > 0);
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
    let places = [
        ("log", logged),
        ("audit", read(&audit)),
        ("stdout", read(&printed)),
        ("metrics", metrics),
    ];
    for decision in ["ResolveContradiction", "StopSending", "EndSettle"] {
        assert!(places[1].1.contains(&format!("\"call\":\"{decision}\"")), "{}", places[1].1);
    }
    let mut secrets = [SECRET, SHOP, OPERATOR, WRONG, BAD_PROXY].map(Vec::from).to_vec();
    for pair in [PROXY, NEXT_PROXY] {
        let (_, password) = pair.split_once(':').unwrap();
        secrets.extend([password.into(), STANDARD.encode(pair).into_bytes()]);
    }
    secrets.extend([AMOUNT_FEN.to_string().into(), "73_519_846".into()]);
    secrets.extend(tokens.into_iter().map(String::into_bytes));
    let lines = SANDBOX_APP_PRIVATE_KEY_PEM.lines().filter(|line| !line.starts_with("--"));
    secrets.extend(lines.map(Vec::from));
    for issued in own.iter().chain([&shown]) {
        secrets.extend(parts_of_key(&issued.key));
    }
    for secret in secrets {
        // As text, and as libraries print bytes that they do not understand.
        let bytes: Vec<String> = secret.iter().map(|byte| byte.to_string()).collect();
        let mut forms = vec![bytes.join(", "), hex::encode(&secret)];
        forms.extend(String::from_utf8(secret));
        for form in forms {
            for (place, text) in &places {
                let line = text.lines().find(|line| line.contains(&form));
                let line = line.map(|line| line.chars().take(2_000).collect::<String>());
                assert_eq!(line, None, "{form} stands in the {place}");
            }
        }
    }
}

/// The lines of a private key's text, and its secret number.
fn parts_of_key(pem: &str) -> Vec<Vec<u8>> {
    let lines = pem.lines().filter(|line| !line.starts_with("--"));
    let mut parts: Vec<Vec<u8>> = lines.map(Vec::from).collect();
    let der = STANDARD.decode(parts.concat()).unwrap();
    // The version of an ECPrivateKey, and the head of the number (RFC 5915).
    let head = [2, 1, 1, 4, 32];
    let number = der.windows(head.len()).position(|bytes| bytes == head).unwrap() + head.len();
    parts.push(der[number..number + 32].to_vec());
    parts
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
