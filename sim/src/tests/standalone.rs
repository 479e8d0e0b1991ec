//! The simulator as a process of its own.

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::{APP, SECRET, config};
use crate::{Choices, NumberCheck, SimApp, SimConfig, Simulator, banner, run};

#[tokio::test]
async fn it_runs_until_it_is_told_to_stop() {
    let (started, url) = oneshot::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let started = |simulator: &Simulator| started.send(simulator.url()).expect("a listener");
    let running = run(config(), started, async {
        stopped.await.ok();
    });
    let user = async {
        let address = url.await.expect("it starts").replace("http://", "");
        TcpStream::connect(&address).await.expect("it answers");
        stop.send(()).expect("it runs");
        address
    };
    let (result, address) = tokio::join!(running, user);
    result.expect("it ran");
    TcpListener::bind(address).await.expect("the port is free again");
}

#[tokio::test]
async fn an_address_in_use_is_an_error() {
    let taken = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let listen = taken.local_addr().expect("an address");
    let stop = std::future::pending();
    let problem = run(SimConfig { listen, ..config() }, |_| (), stop).await;
    assert_eq!(problem.expect_err("it is in use").kind(), std::io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn the_banner_says_how_to_reach_it_and_to_have_it_again() {
    let choices = Choices { number_check: NumberCheck::AfterRules, ..Choices::default() };
    let config = SimConfig { choices, faults_per_10_000: 50, ..config() };
    let simulator = Simulator::start(config).await.expect("a free port");
    let text = banner(&simulator);
    for part in [
        &simulator.url(),
        &simulator.page_url(),
        "seed       7 ",
        "faults     50 of 10 000",
        "choice     number_check = after-rules",
        APP,
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains(SECRET) && !text.contains("visible_after_ms"), "{text}");
    simulator.stop().await;
}

#[test]
fn an_app_is_written_with_its_secret() {
    let app: SimApp = "tt1=a=b".parse().expect("an app");
    assert_eq!((app.app_id.as_str(), app.client_secret.as_str()), ("tt1", "a=b"));
    for text in ["", "tt1", "tt1=", "=secret"] {
        let problem = text.parse::<SimApp>().expect_err(text);
        assert_eq!(problem, "an app is written APP_ID=SECRET");
    }
}
