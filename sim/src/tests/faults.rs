//! Each kind of fault as a client over HTTP meets it.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::wire::{Client, LONG, read, read_bytes};
use super::{CREATE, config, good_create};
use crate::{Gate, Script, SimConfig, Status, StrangerSettle};

async fn scripted(script: Script) -> Client {
    let client = Client::start().await;
    client.sim.script("s1", vec![script]);
    client
}

#[tokio::test]
async fn drop_closes_the_connection_without_an_answer() {
    let client = scripted(Script::Drop).await;
    let error = client.create().await.expect_err("no answer");
    assert!(!error.is_timeout() && !error.is_connect(), "{error:?}");
    assert!(client.sim.books().settles.is_empty());
    assert_eq!(client.create_err_no().await, 0);
    client.sim.stop().await;
}

#[tokio::test]
async fn a_lost_answer_leaves_its_effect() {
    let client = Client::start().await;
    let body = good_create("s1", "sim-lost-1");
    client.post(CREATE, &body).await.expect_err("no answer");
    assert_eq!(client.sim.books().under("s1").len(), 1);
    let repeat = client.post(CREATE, &body).await.expect("an answer");
    assert_eq!(read(repeat).await["err_no"], 23_111);
    client.sim.stop().await;
}

#[tokio::test]
async fn a_cut_answer_ends_after_half_of_its_body() {
    let client = scripted(Script::apply_then(Script::CloseMidAnswer)).await;
    let mut response = client.create().await.expect("headers");
    assert_eq!(response.status(), 200);
    let length = response.content_length().expect("a length");
    let half = response.chunk().await.expect("half a body").expect("half a body");
    assert_eq!(u64::try_from(half.len()).expect("small"), length / 2);
    response.chunk().await.expect_err("the rest never comes");
    assert_eq!(client.sim.books().settles.len(), 1);
    client.sim.stop().await;
}

#[tokio::test]
async fn hang_lasts_until_it_is_released() {
    let client = scripted(Script::Hang).await;
    let (result, ()) = tokio::join!(client.create(), async {
        client.sim.until(|books| books.sends("s1") == 1).await;
        let faults = client.http.post(format!("{}/sim/faults", client.sim.url())).body("{}");
        faults.send().await.expect("an answer");
    });
    assert!(!result.expect_err("no answer").is_timeout());
    // A release ends requests that hang now, not later ones.
    client.sim.script("s1", vec![Script::Hang]);
    let hanging = client.create();
    tokio::time::timeout(Duration::from_millis(50), hanging).await.expect_err("it hangs");
    client.sim.stop().await;
}

#[tokio::test]
async fn a_held_request_arrives_although_its_sender_has_gone() {
    let gate = Gate::new();
    let client = scripted(Script::Hold(gate.clone())).await;
    let mut stream = client.send_raw(&good_create("s1", "o1")).await;
    gate.arrived().await;
    stream.shutdown().await.expect("an open connection");
    // The simulator's side of the connection ends, so it knows that the sender is gone.
    let mut answer = Vec::new();
    let end = tokio::time::timeout(LONG, stream.read_to_end(&mut answer)).await;
    end.expect("the connection ends").ok();
    assert!(answer.is_empty());
    assert!(client.sim.books().settles.is_empty());
    gate.open();
    let books = client.sim.until(|books| !books.settles.is_empty()).await;
    assert!(books.only("s1").expect("one settle").by_gateway);
    assert_eq!(client.create_err_no().await, 23_111);
    client.sim.stop().await;
}

#[tokio::test]
async fn a_held_request_is_answered_when_the_gate_opens() {
    let gate = Gate::new();
    let client = scripted(Script::Hold(gate.clone())).await;
    let (err_no, ()) = tokio::join!(client.create_err_no(), async {
        gate.arrived().await;
        gate.open();
    });
    assert_eq!(err_no, 0);
    client.sim.stop().await;
}

#[tokio::test]
async fn a_slow_answer_takes_its_time() {
    let client = Client::start_with(SimConfig { slow_ms: 60, ..config() }).await;
    let sent = Instant::now();
    let response = client.post(CREATE, &good_create("s1", "sim-slow-1")).await;
    assert_eq!(read(response.expect("an answer")).await["err_no"], 0);
    assert!(sent.elapsed() >= Duration::from_millis(60));
    client.sim.stop().await;
}

#[tokio::test]
async fn a_huge_answer_has_all_its_bytes_and_is_still_json() {
    let bytes = 10 * 1024 * 1024;
    let client = scripted(Script::Huge(bytes)).await;
    let response = client.create().await.expect("an answer");
    let body = read_bytes(response).await;
    assert_eq!(body.len(), bytes);
    let value: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(value["err_no"], 0);
    assert!(client.sim.books().settles.is_empty());
    client.sim.stop().await;
}

#[tokio::test]
async fn garbage_comes_as_it_was_asked_for() {
    let client = Client::start().await;
    let raw = Script::json(503, "try later");
    client.sim.script("s1", vec![Script::Html, Script::Empty, Script::WrongTypes, raw]);
    let html = client.create().await.expect("an answer");
    assert_eq!(
        (html.status().as_u16(), &html.headers()["content-type"]),
        (502, &"text/html".parse().expect("a value"))
    );
    let empty = client.create().await.expect("an answer");
    assert_eq!((empty.status().as_u16(), empty.content_length()), (200, Some(0)));
    let wrong = read(client.create().await.expect("an answer")).await;
    assert!(wrong["err_no"].is_object());
    let raw = client.create().await.expect("an answer");
    assert_eq!(raw.status(), 503);
    assert_eq!(read_bytes(raw).await, b"try later");
    assert_eq!(client.create_err_no().await, 0);
    client.sim.stop().await;
}

#[tokio::test]
async fn a_strangers_settle_can_be_put_in_and_moved() {
    let client = Client::start().await;
    let stranger = StrangerSettle {
        out_order_no: "o9".to_owned(),
        status: Status::Processing,
        ..StrangerSettle::default()
    };
    let app = super::APP;
    let settle_id = client.sim.stranger_settle(app, "s1", stranger.clone());
    assert_eq!(client.create_err_no().await, 23_111);
    assert!(client.sim.finish(&settle_id, Status::Fail));
    assert!(client.sim.set_status(&settle_id, Status::Success));
    let platform_id = client.sim.platform_settle(app, stranger);
    let books = client.sim.books();
    assert_eq!(books.only("s1").expect("one settle").status, Status::Success);
    assert_eq!(books.only(&platform_id).expect("one settle").settle_id, platform_id);
    client.sim.stop().await;
}
