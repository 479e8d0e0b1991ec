//! Senders that are slow or many cost a bounded amount of memory, and keep no other sender out.

use std::time::Duration;

use douyin_sim::Status;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{Letter, patient, signing_simulator, spawn_with, success};
use crate::harness::{APP_ID, create_on, number, within};
use crate::process::{Process, Setting};

/// Before a sender that was turned away comes back.
const RETURN: Duration = Duration::from_millis(50);

/// Sends the head of a callback and this much of its body, and then nothing.
async fn hold(addr: &str, sent_bytes: usize) -> TcpStream {
    let mut socket = TcpStream::connect(addr).await.unwrap();
    let head = format!(
        "POST /callbacks/douyin/{APP_ID} HTTP/1.1\r\nhost: x\r\ncontent-length: 65536\r\n\r\n"
    );
    // A connection that made room for another may be cut off while it sends.
    let _ = socket.write_all(head.as_bytes()).await;
    let _ = socket.write_all(&vec![b'x'; sent_bytes]).await;
    socket
}

/// The status line of what is answered, or nothing if the connection is only closed.
async fn answer(mut socket: TcpStream) -> String {
    let mut text = Vec::new();
    // A reset after the answer is as good as an end.
    let _ = within("the end of the connection", socket.read_to_end(&mut text)).await;
    String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_body_that_takes_too_long_is_answered_408() {
    let gateway = spawn_with(|config| {
        patient(config);
        config.callback.limits.body_time_max = Duration::from_millis(300);
    })
    .await;
    let addr = gateway.addrs.callback.unwrap().to_string();
    let before = gateway.callbacks(APP_ID, "too_slow").await;
    let answered = answer(hold(&addr, 10).await).await;
    assert!(answered.starts_with("HTTP/1.1 408"), "{answered}");
    assert_eq!(gateway.callbacks(APP_ID, "too_slow").await, before + 1);
}

#[tokio::test]
async fn a_connection_that_sends_no_request_is_closed() {
    let gateway = spawn_with(|config| {
        patient(config);
        config.callback.limits.idle_time_max = Duration::from_millis(200);
    })
    .await;
    let addr = gateway.addrs.callback.unwrap().to_string();
    for sent in ["", "POST /call", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut socket = TcpStream::connect(&addr).await.unwrap();
        socket.write_all(sent.as_bytes()).await.unwrap();
        answer(socket).await;
    }
}

/// So many requests whose bodies do not come, over and over.
fn holders(addr: &str, count: usize) -> JoinSet<()> {
    let mut holders = JoinSet::new();
    for _ in 0..count {
        let addr = addr.to_owned();
        holders.spawn(async move {
            loop {
                answer(hold(&addr, 10).await).await;
                tokio::time::sleep(RETURN).await;
            }
        });
    }
    holders
}

#[tokio::test]
async fn bodies_that_do_not_come_take_no_place_from_callbacks_that_are_here() {
    let sim = signing_simulator().await;
    let dir = tempfile::TempDir::new().unwrap();
    let keys = dir.path().join("keys.pem");
    std::fs::write(&keys, sim.platform_public_key_pem(APP_ID)).unwrap();
    let used = "process_open_fds";
    let rested = "settlement_connections_refused_total{listener=\"callbacks\",why=\"rested\"}";
    // Fewer places than senders: for requests, and then for connections too.
    for (connections_max, shown_by) in [(1_024, used), (24, rested)] {
        let server =
            format!("callback_requests_max = 4\ncallback_connections_max = {connections_max}\n");
        let setting = Setting { platform_keys: Some(keys.clone()), server, ..Setting::default() };
        let at = dir.path().join(connections_max.to_string());
        std::fs::create_dir(&at).unwrap();
        let process = Process::start(&sim, &at, setting).await;
        let create = create_on(&number("held"), &format!("sim-hold-{connections_max}"));
        let mut client = process.client.clone();
        let created =
            within("CreateSettle", client.create_settle(create)).await.unwrap().into_inner();
        let letter = Letter::about(&sim, created.settle.unwrap().settle_id(), Status::Success);
        let url = process.callback_url();
        let before = process.metric(shown_by).await;
        let holders = holders(url.split('/').nth(2).unwrap(), 48);
        let held = async { while process.metric(shown_by).await < before + 40.0 {} };
        within("the senders", held).await;
        for delivery in 0..20 {
            // With fewer places than senders, a delivery that a busy machine does not read at once
            // may itself have rested longest, and loses its connection to the next sender.
            let (status, told) = match connections_max {
                24 => letter.deliver_again(&url).await,
                _ => letter.deliver_to(&reqwest::Client::new(), &url).await,
            };
            assert_eq!(status, 200, "delivery {delivery} with {connections_max}: {told}");
        }
        drop(holders);
    }
}

/// Whatever else is arriving, a request as small as a callback gets in.
#[tokio::test]
async fn bytes_on_their_way_are_bounded_and_keep_no_callback_out() {
    let gateway = spawn_with(|config| {
        patient(config);
        config.callback.limits.requests_max = 1;
    })
    .await;
    gateway.sim.set_callback_url(APP_ID, None);
    let settle = gateway.create(create_on(&number("busy"), "sim-hold-1")).await.unwrap();
    let letter = Letter::about(&gateway.sim, settle.settle_id(), Status::Success);
    let addr = gateway.addrs.callback.unwrap().to_string();
    let before = gateway.callbacks("none", "busy").await;
    let held = hold(&addr, 60_000).await;
    let large = Letter { body: vec![b'x'; 20_000], ..letter.clone() };
    // An answer over HTTP/1.1 can be lost when the body is not read to its end.
    let http2 = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let full = async { while large.deliver_by(&http2, &gateway).await.0 != 503 {} };
    within("the listener to be full", full).await;
    let (status, told) = large.deliver_by(&http2, &gateway).await;
    assert_eq!((status, &told["err_tips"]), (503, &"busy".into()));
    assert!(gateway.callbacks("none", "busy").await > before + 1);
    assert_eq!(letter.deliver(&gateway).await, success());
    drop(held);
    let room = async { while large.deliver_by(&http2, &gateway).await.0 != 401 {} };
    within("room", room).await;
}

/// Without a length that could be looked at first, and heads without an end.
#[tokio::test]
async fn a_body_in_chunks_and_a_head_are_bounded_too() {
    let gateway = spawn_with(patient).await;
    let addr = gateway.addrs.callback.unwrap().to_string();
    let before = gateway.callbacks(APP_ID, "too_large").await;
    let head = format!(
        "POST /callbacks/douyin/{APP_ID} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    let chunk = format!("{:x}\r\n{}\r\n", 1024, "x".repeat(1024));
    // Not a byte more than is needed for the refusal: unread bytes would reset the connection with
    // the answer.
    let chunks = chunk.repeat(64) + "1\r\nx\r\n";
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(200));
    let long = format!("GET / HTTP/1.1\r\nlong: {}", "x".repeat(16 * 1024));
    for (sent, status) in [(head + &chunks, "413"), (many, "431"), (long, "431")] {
        let mut socket = TcpStream::connect(&addr).await.unwrap();
        socket.write_all(sent.as_bytes()).await.unwrap();
        let answered = answer(socket).await;
        assert!(answered.starts_with(&format!("HTTP/1.1 {status}")), "{answered}");
    }
    assert_eq!(gateway.callbacks(APP_ID, "too_large").await, before + 1);
}

/// How much memory a process has in use, in KiB.
fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A thousand senders, each with all but the last byte of the largest body.
#[tokio::test]
async fn a_thousand_slow_senders_cost_a_bounded_amount_of_memory() {
    let sim = signing_simulator().await;
    let dir = tempfile::TempDir::new().unwrap();
    let keys = dir.path().join("keys.pem");
    std::fs::write(&keys, sim.platform_public_key_pem(APP_ID)).unwrap();
    let setting = Setting { platform_keys: Some(keys), ..Setting::default() };
    let process = Process::start(&sim, dir.path(), setting).await;
    let url = process.callback_url();
    let addr = url.split('/').nth(2).unwrap().to_owned();
    process.logged("the store can commit").await;
    let before = resident_kib(process.id());
    let mut senders = tokio::task::JoinSet::new();
    for _ in 0..1_000 {
        let addr = addr.clone();
        senders.spawn(async move {
            let mut socket = TcpStream::connect(&addr).await.unwrap();
            let head = format!(
                "POST /callbacks/douyin/{APP_ID} HTTP/1.1\r\nhost: x\r\n\
                 content-length: 65536\r\n\r\n"
            );
            // A sender that is turned away may be cut off while it sends.
            let _ = socket.write_all(head.as_bytes()).await;
            let _ = socket.write_all(&vec![b'x'; 65_535]).await;
            socket
        });
    }
    let held = senders.join_all().await;
    let grown = resident_kib(process.id()).saturating_sub(before);
    println!("{} senders: {grown} KiB more", held.len());
    // 16 MiB of bodies in all and 16 KiB of each connection; buffers and the allocator come on top.
    assert!(grown < 64 * 1024, "{grown} KiB");
    drop(held);
    let taken = async {
        let client = reqwest::Client::new();
        loop {
            match client.post(&url).body("x").send().await {
                Ok(answer) if answer.status().as_u16() == 401 => return,
                Ok(_) | Err(_) => {}
            }
        }
    };
    within("the listener to have room again", taken).await;
}
