//! Callers that certificates identify: their own, and those that a sidecar has verified.

use std::net::SocketAddr;

use settlement_gateway::proto::v1;
use settlement_gateway::proto::v1::settlement_service_client::SettlementServiceClient;
use tempfile::TempDir;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::Secured;
use super::authority::Issued;
use super::client::{Client, Ways};
use super::sidecar::through;
use crate::harness::{
    APP_ID, create_on, create_request, drain, number, simulator, watch_request, within,
};
use crate::process::{Process, Setting};
use crate::reload::edit;

const SHOP: &str = "spiffe://corp/ns/pay/sa/shop";
const DESK: &str = "desk.pay.corp";
const MESH: &str = "spiffe://corp/ns/mesh/sa/proxy";
const OTHER: &str = "tt-other";
const HEADER: &str = "x-forwarded-client-cert";

/// Keys of `[server]`, and blocks after it: the shop creates and reads, the desk only reads.
fn known() -> String {
    let block = |name: &str, rights: &str, certificate: &str| {
        format!(
            "[[callers]]\nname = \"{name}\"\nrights = [{rights}]\n\
             certificate_names = [\"{certificate}\"]\n"
        )
    };
    let shop = block("shop", "\"create\", \"read\"", SHOP);
    format!("sidecar_names = [\"{MESH}\"]\n{shop}{}", block("desk", "\"read\"", DESK))
}

fn client(gateway: &Secured, shows: Option<&Issued>) -> Client {
    Client::new(&gateway.listener.authority, &Ways { shows, ..Ways::default() })
}

/// With these `x-forwarded-client-cert`.
fn told<T>(message: T, forwarded: &[&str]) -> Request<T> {
    let mut request = Request::new(message);
    for value in forwarded {
        let value = AsciiMetadataValue::try_from(*value).unwrap();
        request.metadata_mut().append(HEADER, value);
    }
    request
}

async fn lists(
    settles: &mut SettlementServiceClient<Channel>,
    app_id: &str,
    forwarded: &[&str],
) -> Code {
    let list = v1::ListSettlesRequest { app_id: app_id.to_owned(), ..Default::default() };
    let listed = within("ListSettles", settles.list_settles(told(list, forwarded))).await;
    listed.err().map_or(Code::Ok, |status| status.code())
}

/// The caller whose settle a create makes, or why there is none.
async fn creates(
    settles: &mut SettlementServiceClient<Channel>,
    forwarded: &[&str],
) -> Result<String, Code> {
    let create = told(create_request(&number("certified")), forwarded);
    let created = within("CreateSettle", settles.create_settle(create)).await;
    let created = created.map_err(|status| status.code())?.into_inner();
    Ok(created.settle.unwrap().created_by.expect("every call has an identity"))
}

async fn is_healthy(client: &Client, addr: SocketAddr) -> bool {
    let mut health = HealthClient::new(client.channel(addr));
    within("Check", health.check(HealthCheckRequest::default())).await.is_ok()
}

#[tokio::test]
async fn a_certificates_uri_or_dns_name_is_a_caller_with_its_rights_and_apps() {
    let sim = simulator().await;
    let gateway = Secured::start(&sim, &known()).await;
    let addr = gateway.process.grpc_addr();
    let shown = |names: &[&str]| Some(gateway.clients.issue(names));
    let denied = Code::PermissionDenied;
    let stranger = Code::Unauthenticated;
    for (shows, created, listed, of_other) in [
        (shown(&[SHOP]), Ok("shop"), Code::Ok, denied),
        (shown(&["localhost", SHOP]), Ok("shop"), Code::Ok, denied),
        (shown(&[DESK]), Err(denied), Code::Ok, denied),
        (shown(&["DESK.pay.corp"]), Err(denied), Code::Ok, denied),
        (shown(&["spiffe://corp/ns/pay/sa/shopper"]), Err(stranger), stranger, stranger),
        (shown(&["pay.corp"]), Err(stranger), stranger, stranger),
        (shown(&[SHOP, DESK]), Err(stranger), stranger, stranger),
        (shown(&[]), Err(stranger), stranger, stranger),
        (None, Err(stranger), stranger, stranger),
    ] {
        let client = client(&gateway, shows.as_ref());
        let mut settles = client.settles(addr);
        let case = shows.map(|issued| issued.certificate);
        assert_eq!(creates(&mut settles, &[]).await, created.map(str::to_owned), "{case:?}");
        assert_eq!(lists(&mut settles, APP_ID, &[]).await, listed, "{case:?}");
        assert_eq!(lists(&mut settles, OTHER, &[]).await, of_other, "{case:?}");
        assert!(is_healthy(&client, addr).await, "{case:?}");
    }
}

/// What a sidecar tells, and whose call it then is.
async fn is_believed(settles: &mut SettlementServiceClient<Channel>) {
    let shop = format!("By={MESH};Hash=00;Subject=\"CN=\\\"a\\\",O=b;c\";URI={SHOP}");
    let desk = format!("By={MESH};DNS={DESK}");
    let shop_is_last = format!("{desk},{shop}");
    for forwarded in [&[&*shop][..], &[&*shop_is_last], &[&*desk, &*shop]] {
        assert_eq!(creates(settles, forwarded).await.as_deref(), Ok("shop"), "{forwarded:?}");
        assert_eq!(lists(settles, OTHER, forwarded).await, Code::PermissionDenied);
    }
    let desk_is_last = format!("{shop},{desk}");
    for forwarded in [&[&*desk][..], &[&*desk_is_last], &[&*shop, &*desk]] {
        assert_eq!(creates(settles, forwarded).await, Err(Code::PermissionDenied));
        assert_eq!(lists(settles, APP_ID, forwarded).await, Code::Ok, "{forwarded:?}");
    }
    let stranger_is_last = format!("{shop},By={MESH};Hash=00");
    let swallowing = format!("URI={SHOP};Subject=\",By={MESH};URI=spiffe://corp/stranger");
    let malformed = format!("{shop};");
    let unproven: [&[&str]; 6] = [
        &[],
        &[&stranger_is_last],
        &[&swallowing],
        &[&malformed],
        &["nonsense"],
        &["URI=spiffe://corp/stranger"],
    ];
    for forwarded in unproven {
        assert_eq!(creates(settles, forwarded).await, Err(Code::Unauthenticated), "{forwarded:?}");
        assert_eq!(lists(settles, APP_ID, forwarded).await, Code::Unauthenticated);
    }
}

#[tokio::test]
async fn a_sidecars_word_counts_and_no_other_peers_does() {
    let sim = simulator().await;
    let gateway = Secured::start(&sim, &known()).await;
    let addr = gateway.process.grpc_addr();
    let settles =
        |names: &[&str]| client(&gateway, Some(&gateway.clients.issue(names))).settles(addr);
    is_believed(&mut settles(&[MESH])).await;

    let forged = format!("URI={SHOP}");
    for forwarded in [&[&*forged][..], &["nonsense"]] {
        let mut desk = settles(&[DESK]);
        assert_eq!(creates(&mut desk, forwarded).await, Err(Code::PermissionDenied), "not itself");
        assert_eq!(lists(&mut desk, APP_ID, forwarded).await, Code::Ok, "itself");
        let nameless = client(&gateway, None).settles(addr);
        for mut stranger in [settles(&["spiffe://corp/ns/mesh"]), nameless] {
            assert_eq!(creates(&mut stranger, forwarded).await, Err(Code::Unauthenticated));
        }
    }
}

#[tokio::test]
async fn what_comes_through_the_socket_is_believed_and_what_comes_by_tcp_is_not() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let socket = dir.path().join("sidecar.sock");
    let blocks = known();
    let (_, blocks) = blocks.split_once('\n').unwrap();
    let server = format!("sidecar_socket = \"{}\"\n{blocks}", socket.display());
    let gateway = Process::start(&sim, dir.path(), Setting { server, ..Setting::default() }).await;
    is_believed(&mut through(&socket)).await;

    let forged = format!("URI={SHOP}");
    for forwarded in [&[][..], &[&*forged], &["nonsense"]] {
        let mut plain = gateway.client.clone();
        assert_eq!(creates(&mut plain, forwarded).await, Err(Code::Unauthenticated));
        assert_eq!(lists(&mut plain, APP_ID, forwarded).await, Code::Unauthenticated);
    }
}

/// Of a refusal: those that were verified here, and those that a sidecar has verified.
#[tokio::test]
async fn the_audit_shows_the_names_of_a_certificate_that_is_no_callers() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let file = dir.path().join("audit.jsonl");
    let server = format!("audit_to = {file:?}\n{}", known());
    let gateway = Secured::start(&sim, &server).await;
    let addr = gateway.process.grpc_addr();
    let settles =
        |names: &[&str]| client(&gateway, Some(&gateway.clients.issue(names))).settles(addr);
    let mut stranger = settles(&["spiffe://corp/stranger", "stranger.corp"]);
    assert_eq!(lists(&mut stranger, APP_ID, &[]).await, Code::Unauthenticated);
    let told = format!("By={MESH};URI=spiffe://corp/another");
    assert_eq!(lists(&mut settles(&[MESH]), APP_ID, &[&told]).await, Code::Unauthenticated);
    let lines = crate::audit::lines(&file, 2).await;
    let own = serde_json::json!(["spiffe://corp/stranger", "stranger.corp"]);
    assert_eq!(lines[0]["shown"], own, "{lines:?}");
    assert_eq!(lines[1]["shown"], serde_json::json!(["spiffe://corp/another"]), "{lines:?}");
}

/// On the connection that it has open, whose certificate stays good.
#[tokio::test]
async fn a_name_that_is_taken_out_ends_its_watch_and_its_calls_and_no_others() {
    let sim = simulator().await;
    let gateway = Secured::start(&sim, &known()).await;
    let addr = gateway.process.grpc_addr();
    let settles =
        |name: &str| client(&gateway, Some(&gateway.clients.issue(&[name]))).settles(addr);
    let (mut shop, mut desk) = (settles(SHOP), settles(DESK));
    let held = number("sim-hold");
    let create = create_on(&held, &format!("sim-hold-{held}"));
    let created = within("CreateSettle", shop.create_settle(create)).await.unwrap();
    let settle_id = created.into_inner().settle.unwrap().settle_id().to_owned();
    let mut watches = Vec::new();
    for settles in [&mut shop, &mut desk] {
        let watch = within("WatchSettle", settles.watch_settle(watch_request(&held, 0))).await;
        let mut watch = watch.unwrap().into_inner();
        within("the current state", watch.message()).await.unwrap().unwrap();
        watches.push(watch);
    }
    let [ends, goes_on] = watches.try_into().ok().unwrap();
    edit(gateway.dir.path(), |text| text.replace(SHOP, "spiffe://corp/ns/pay/sa/another"));
    assert_eq!(drain(ends).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(lists(&mut shop, APP_ID, &[]).await, Code::Unauthenticated);
    assert_eq!(lists(&mut desk, APP_ID, &[]).await, Code::Ok);
    assert!(sim.finish(&settle_id, douyin_sim::Status::Success));
    drain(goes_on).await.expect("another caller's watch goes on");
}

/// As check-config does, whose test has every case.
#[tokio::test]
async fn serve_warns_of_names_that_no_call_can_show_and_of_tokens_in_plain_text() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let block =
        "[[callers]]\nname = \"job\"\nrights = [\"read\"]\ncertificate_names = [\"job.corp\"]\n";
    let token = settlement_gateway::callers::Fingerprint::of("a-token-that-cannot-be-guessed");
    let more = format!("{block}token_sha256 = [\"{token}\"]\n");
    let variables = &[("SETTLEMENT_SERVER_GRPC_ADDR", "0.0.0.0:0")];
    let setting = Setting { more, variables, ..Setting::default() };
    let gateway = Process::start(&sim, dir.path(), setting).await;
    for warning in ["no call can show these names", "a peer on the way can read the tokens"] {
        gateway.logged_together(&["\"WARN\"", warning]).await;
    }
}
