//! What goes out as `ext`, what it proves, and that a settle's bytes never change once recorded.

use std::time::Duration;

use douyin_sim::{Script, Status, StrangerSettle};
use settlement_gateway::proto::v1::{self, SettleOrigin, SettleState};
use settlement_gateway::settle::{Mark, NotifyUrl};
use tonic::Code;

use crate::harness::{
    APP_ID, Gateway, assert_create_error, create_request, number, simulator, simulator_with,
};

fn with_ext(number: &str, ext: &str) -> v1::CreateSettleRequest {
    v1::CreateSettleRequest { ext: ext.to_owned(), ..create_request(number) }
}

async fn sent_ext(gateway: &Gateway, number: &str) -> String {
    gateway.sim.books().only(number).expect("applied once").cp_extra.clone()
}

#[tokio::test]
async fn an_empty_ext_goes_out_as_the_mark_and_the_callers_own_as_it_is() {
    let gateway = Gateway::spawn().await;
    let (marked, own) = (number("marked"), number("own"));
    gateway.create(create_request(&marked)).await.unwrap();
    let mark = sent_ext(&gateway, &marked).await;
    let digest = mark.strip_prefix("sg1:").expect("a mark");
    assert!(digest.len() == 32 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{mark}");
    // The mark is the gateway's own: the caller gave no ext and is shown none.
    assert_eq!(gateway.end(&marked).await.ext, None);
    let ext = "附言 \"of\" the\ncaller";
    gateway.create(with_ext(&own, ext)).await.unwrap();
    assert_eq!(sent_ext(&gateway, &own).await, ext);
    assert_eq!(gateway.end(&own).await.ext(), ext);
}

#[tokio::test]
async fn without_the_mark_an_empty_ext_stays_empty() {
    let gateway = Gateway::spawn_with(simulator().await, |config| {
        config.gateway.mark = Mark::Off;
    })
    .await;
    let number = number("unmarked");
    gateway.create(create_request(&number)).await.unwrap();
    assert_eq!(sent_ext(&gateway, &number).await, "");
    assert_eq!(gateway.end(&number).await.state(), SettleState::Succeeded);
}

#[tokio::test]
async fn the_callers_own_ext_proves_whose_settle_it_is_as_the_mark_does() {
    let gateway = Gateway::spawn().await;
    let (ours, theirs) = (number("ours"), number("theirs"));
    for (number, cp_extra) in [(&ours, "invoice 7"), (&theirs, "another system's")] {
        gateway.sim.stranger_settle(
            APP_ID,
            number,
            StrangerSettle {
                out_order_no: format!("order-of-{number}"),
                cp_extra: cp_extra.to_owned(),
                status: Status::Processing,
                ..StrangerSettle::default()
            },
        );
    }
    let settle = gateway.create(with_ext(&ours, "invoice 7")).await.unwrap();
    assert_eq!(settle.origin(), SettleOrigin::Gateway);
    assert_eq!(settle.state(), SettleState::Processing);
    let status = gateway.create(with_ext(&theirs, "invoice 7")).await.unwrap_err();
    let reason = "OUT_SETTLE_NO_EXISTS";
    // A caller's own text may come back changed: it proves what is ours, not what is another
    // system's.
    assert_create_error(&status, Code::AlreadyExists, reason, "unknown");
    assert_eq!(gateway.get(&theirs).await.unwrap().origin(), SettleOrigin::Platform);
    for number in [&ours, &theirs] {
        assert_eq!(gateway.sim.books().sends(number), 1);
    }
}

fn url(path: &str) -> NotifyUrl {
    NotifyUrl::parse(format!("https://gateway.example/{path}")).unwrap()
}

#[tokio::test]
async fn a_resend_after_a_restart_with_other_knobs_is_the_same_bytes() {
    let mut gateway = Gateway::spawn_with(simulator_with(|_| {}).await, |config| {
        config.apps[0].notify_url = Some(url("old"));
    })
    .await;
    let number = number("bytes");
    gateway.sim.always_create(Some(Script::Refuse(23000)));
    gateway.create(create_request(&number)).await.unwrap_err();
    gateway.tune(|config| {
        config.gateway.mark = Mark::Off;
        config.apps[0].notify_url = Some(url("new"));
        config.gateway.submit_window_max = Duration::from_secs(3600);
    });
    let before = gateway.sim.books().sends(&number);
    let gateway = gateway.restart().await;
    gateway.sim.always_create(None);
    assert_eq!(gateway.end(&number).await.state(), SettleState::Succeeded);
    let bodies = gateway.sim.books().create_bodies(&number);
    assert!(bodies.len() > before, "it was sent again after the restart");
    assert!(bodies.iter().all(|body| body == &bodies[0]), "{bodies:?}");
    let body = String::from_utf8(bodies[0].to_vec()).unwrap();
    assert!(body.contains("sg1:") && body.contains("gateway.example/old"), "{body}");
}
