//! No secret stands in the log at its most verbose, in the audit, in an error, in the metrics or on
//! standard output, in force, replaced or refused: nothing of what a knob names that is a secret,
//! no access token and no caller's token, nor what a receiver gets.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use douyin_sim::{CallbackScript, OrderSetup, SANDBOX_APP_PRIVATE_KEY_PEM, Script, Status};
use settlement_gateway::proto::v1;
use settlement_gateway::proto::v1::operator_service_client::OperatorServiceClient;
use settlement_gateway::proto::v1::settlement_service_client::SettlementServiceClient;
use tempfile::TempDir;

use crate::audit::{QUICK, audited, bearing, operator as block, stop_and_end};
use crate::callbacks::openssl;
use crate::config::secrets;
use crate::egress::Proxy;
use crate::errors_own::resolve_request;
use crate::harness::{APP_ID, SECRET, create_on, simulator_with, within};
use crate::process::{Outlet, Process, Setting, run_with};
use crate::reload::{APPLIED, REFUSED, counted};
use crate::replicas::database::Database;
use crate::replicas::password::user_with_password;
use crate::tls::authority::{Authority, Issued};
use crate::tls::client::{Client, Ways};
use crate::tls::{Listener, write};

const SHOP: &str = "of-the-shop-0123456789abcdef0123456789";
const OPERATOR: &str = "of-an-operator-0123456789abcdef0123456789";
const WRONG: &str = "sg_a-stolen-token-of-another-gateway-0123456789";
const PROXY: &str = "gateway:of-the-proxy-0123456789abcdef0123456789";
const NEXT_PROXY: &str = "gateway:of-the-proxy-next-0123456789abcdef0123";
const BAD_PROXY: &str = "of-the-proxy-without-a-user-0123456789abcdef";
const FILED: &str = "of-a-caller-in-a-file-0123456789abcdef0123456789";
const SALT: &str = "of-the-payment-0123456789abcdef";
const BAD_SALT: &str = "of-the-payment-next-0123456789abcdef\u{1}";
const CALLBACK_TOKEN: &str = "of-the-callbacks-0123456789abcdef";
const DATABASE: &str = "of-the-database-0123456789abcdef";
const WRONG_DATABASE: &str = "of-another-database-0123456789abcdef";
/// What the process finds in its environment.
const VARIABLES: &[(&str, &str)] = &[("TEST_TOKEN", CALLBACK_TOKEN)];
const STATUSES: &str = "statuses";
/// In no other number of a run.
const AMOUNT_FEN: i64 = 73_519_846;

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_run_at_trace_shows_no_secret_no_token_and_no_receivers_amount() {
    let salted = simulator_with(|config| {
        config.apps[0].salt = SALT.to_owned();
        config.apps[0].callback_token = CALLBACK_TOKEN.to_owned();
    });
    let (sim, proxy, server) = (salted.await, Proxy::start_open().await, Database::start().await);
    let url = user_with_password(&server, "leaking", DATABASE).await;
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
    let [signing_key, salt, filed, password] =
        ["app-private-key.pem", "salt", "caller-tokens", "password"].map(file);
    // As consoles show it: PKCS#1, and no line around it.
    write(&signing_key, SANDBOX_APP_PRIVATE_KEY_PEM);
    let old_form = openssl(&["rsa", "-in", &signing_key, "-traditional"]);
    let bare: String = old_form.lines().filter(|line| !line.starts_with("--")).collect();
    write(&client_ca, &clients.pem());
    write(&credentials, PROXY);
    write(&salt, SALT);
    write(&filed, FILED);
    write(&password, DATABASE);
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
        store: Some(format!("url = {url:?}\npassword_file = {password:?}\n")),
        variables: VARIABLES,
        more: format!(
            "systems = [\"general\", \"industry\", \"guaranteed\"]\n\
             private_key_file = {signing_key:?}\nkey_version = \"1\"\nsalt_file = {salt:?}\n\
             callback_token_env = \"TEST_TOKEN\"\ncaller_tokens_file = {filed:?}\n"
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
    for order in ["sim-hold-1", "sim-lost-1", "doubtful", "o-6", "o-8", "o-9", "o-10"] {
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
    let signed = |system: v1::TradeSystem, number: &str, order: &str| {
        let request = create(number, order);
        bearing(v1::CreateSettleRequest { trade_system: system.into(), ..request }, SHOP)
    };
    let (industry, guaranteed) = (v1::TradeSystem::Industry, v1::TradeSystem::Guaranteed);
    for call in [signed(industry, "s-8", "o-8"), signed(guaranteed, "s-9", "o-9")] {
        within("CreateSettle", client.create_settle(call)).await.unwrap();
    }
    let settle = created[0].as_ref().unwrap().settle.clone().unwrap();
    let failed = |at: usize| created[at].as_ref().unwrap_err().message().to_owned();
    assert!(failed(6).contains(&AMOUNT_FEN.to_string()), "{}", failed(6));
    assert!([2, 4, 5, 7].into_iter().all(|at| !failed(at).is_empty()));
    let key = Some(v1::get_settle_request::Key::OutSettleNo("s-1".to_owned()));
    let get =
        v1::GetSettleRequest { key, refresh: true, include_history: true, ..Default::default() };
    let mut statuses: Vec<_> = created.iter().filter_map(|one| one.clone().err()).collect();
    for token in [SHOP, FILED, WRONG] {
        let got = within("GetSettle", client.get_settle(bearing(get.clone(), token))).await;
        statuses.extend(got.err());
        let list = v1::ListSettlesRequest { page_size: 1, ..Default::default() };
        let listed = within("ListSettles", client.list_settles(bearing(list, token))).await;
        statuses.extend(listed.err());
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
        statuses.push(within("ResolveContradiction", refused).await.unwrap_err());
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
        let is_heard = |number: &str| {
            let books = sim.books();
            books.callbacks_of(number).iter().any(|callback| callback.is_acknowledged())
        };
        // One of each kind.
        while !(is_heard("s-1") && is_heard("s-9")) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within("callbacks", heard).await;
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
    let refused = gateway.counted(REFUSED).await;
    write(&signing_key, bare.split_at(800).0);
    write(&salt, BAD_SALT);
    counted(&gateway, REFUSED, refused + 1).await;
    let applied = gateway.counted(APPLIED).await;
    write(&signing_key, &bare);
    write(&salt, SALT);
    counted(&gateway, APPLIED, applied + 1).await;
    let anew = client.create_settle(signed(industry, "s-10", "o-10"));
    within("CreateSettle", anew).await.unwrap();
    let checked = run_with(dir.path(), "check-config", VARIABLES).await;
    assert!(checked.status.success());
    write(&password, WRONG_DATABASE);
    server.terminate_sessions().await;
    gateway.logged("password authentication failed").await;
    write(&password, DATABASE);
    let after = async {
        loop {
            let again = client.create_settle(bearing(create("s-6", "o-6"), SHOP)).await;
            match again {
                Ok(_) => return,
                Err(status) => statuses.push(status),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within("the database to be back", after).await;
    assert!(proxy.opened() > 0);
    let token = server.text("SELECT access_token FROM token").await.expect("it has fetched one");
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
    let text = |status: &tonic::Status| {
        format!("{status:?} {}\n", String::from_utf8_lossy(status.details()))
    };
    let places = [
        ("log", logged),
        ("audit", read(&audit)),
        ("stdout", read(&printed)),
        ("metrics", metrics),
        ("what check-config says", String::from_utf8_lossy(&checked.stdout).into_owned()),
        ("its warnings", String::from_utf8_lossy(&checked.stderr).into_owned()),
        (STATUSES, statuses.iter().map(text).collect()),
    ];
    for decision in ["ResolveContradiction", "StopSending", "EndSettle"] {
        assert!(places[1].1.contains(&format!("\"call\":\"{decision}\"")), "{}", places[1].1);
    }
    let words = [SECRET, SHOP, OPERATOR, WRONG, BAD_PROXY, FILED, SALT, CALLBACK_TOKEN];
    let mut secrets = words.map(Vec::from).to_vec();
    secrets.extend([BAD_SALT.trim_end_matches('\u{1}'), DATABASE, WRONG_DATABASE].map(Vec::from));
    for pair in [PROXY, NEXT_PROXY] {
        let (_, password) = pair.split_once(':').unwrap();
        secrets.extend([password.into(), STANDARD.encode(pair).into_bytes()]);
    }
    secrets.push(token.into_bytes());
    for form in [SANDBOX_APP_PRIVATE_KEY_PEM, &old_form] {
        let lines = form.lines().skip_while(|line| !line.starts_with("--"));
        secrets.extend(
            lines.filter(|line| line.len() >= 16 && !line.starts_with("--")).map(Vec::from),
        );
    }
    for issued in own.iter().chain([&shown]) {
        secrets.extend(parts_of_key(&issued.key));
    }
    // A caller is told what Douyin says of an amount.
    let amounts = [AMOUNT_FEN.to_string(), "73_519_846".to_owned()].map(String::into_bytes);
    let hidden = secrets
        .iter()
        .map(|secret| (secret, ""))
        .chain(amounts.iter().map(|amount| (amount, STATUSES)));
    for (secret, except) in hidden {
        for form in forms(secret) {
            for (place, text) in places.iter().filter(|(place, _)| *place != except) {
                let line = text.lines().find(|line| line.contains(&form));
                let line = line.map(|line| line.chars().take(2_000).collect::<String>());
                assert_eq!(line, None, "{form} stands in the {place}");
            }
        }
    }
    assert_is_whole(&read(&dir.path().join("gateway.toml")));
}

/// A secret as text, and as libraries print bytes that they do not understand.
pub fn forms(secret: &[u8]) -> Vec<String> {
    let bytes: Vec<String> = secret.iter().map(|byte| byte.to_string()).collect();
    let text = String::from_utf8(secret.to_vec()).ok();
    [bytes.join(", "), hex::encode(secret)].into_iter().chain(text).collect()
}

/// The configuration of the run has every kind of secret that the gateway knows, by its variable or
/// by its file. The three listeners read their keys alike, and the others' peers speak no TLS here.
fn assert_is_whole(configuration: &str) {
    let set: Vec<_> = configuration.lines().filter_map(|line| line.split_once(" = ")).collect();
    for (table, key) in secrets::knobs() {
        let key = key.replace("callback_tls", "grpc_tls").replace("admin_tls", "grpc_tls");
        let kind = key.trim_end_matches("_env").trim_end_matches("_file");
        let names = ["_env", "_file"].map(|end| format!("{kind}{end}"));
        let is_set = set.iter().any(|(key, _)| names.iter().any(|name| name == key));
        assert!(is_set, "{table}.{key}: use it in this run, and look for it");
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
