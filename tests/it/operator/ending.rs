//! An operator ends a settle in doubt: from the stop to what its caller and its watcher are told.

use std::io::Write as _;
use std::time::Duration;

use douyin_sim::Script;
use settlement_gateway::callers::{Known, Right};
use settlement_gateway::proto::v1::{self, SettleState};
use tonic::Request;

use super::{json, ran, settle, settle_command};
use crate::callers::caller;
use crate::errors_own::ends::soon;
use crate::errors_own::{end_request, stop_request};
use crate::harness::{Gateway, create_request, details, number, simulator, watch_request, within};
use crate::terminal::terminal;

const SHOP: &str = "of-the-shop";
const ALICE: &str = "of-alice";

async fn gateway() -> Gateway {
    Gateway::spawn_with(simulator().await, |config| {
        soon(config);
        config.gateway.policy.grace = Duration::from_secs(2);
        let callers = [
            caller("shop", &["*"], &[Right::Create, Right::Read], SHOP),
            caller("alice", &["*"], &[Right::Operate], ALICE),
        ];
        config.callers = Known::new(callers, []);
    })
    .await
}

fn bearing<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

#[tokio::test]
async fn a_settle_in_doubt_is_ended_and_all_are_told_who_did_it_and_why() {
    let gateway = gateway().await;
    let number = number("doubt");
    gateway.sim.script(&number, vec![Script::Refuse(23000); 9]);
    let (mut shop, mut alice) = (gateway.client.clone(), gateway.operator.clone());
    let created = shop.create_settle(bearing(create_request(&number), SHOP)).await.unwrap_err();
    assert_eq!(details(&created).info.metadata["outcome"], "unknown");
    let watch = bearing(watch_request(&number, 0), SHOP);
    let mut watch = shop.watch_settle(watch).await.unwrap().into_inner();
    let mut told = async || loop {
        let message = within("news", watch.message()).await.unwrap().expect("the end comes first");
        if let Some(v1::watch_settle_response::Event::Settle(settle)) = message.event {
            return settle;
        }
    };
    let show = v1::ShowSettleRequest {
        key: Some(v1::show_settle_request::Key::OutSettleNo(number.clone())),
        ..Default::default()
    };

    // The turn of the create may still learn something.
    let (seen, stopped) = loop {
        let seen = told().await;
        let stop = stop_request(&number, seen.revision);
        match alice.stop_sending(bearing(stop, ALICE)).await {
            Ok(stopped) => break (seen, stopped.into_inner()),
            Err(status) => assert_eq!(details(&status).info.reason, "REVISION_CHANGED"),
        }
    };
    let settle = stopped.settle.unwrap();
    assert_eq!((settle.state(), settle.revision), (SettleState::Submitting, seen.revision + 1));
    assert_eq!(settle.decision.as_ref().unwrap().by(), "alice");
    assert_eq!(told().await.revision, settle.revision, "the watcher sees the stop");
    let shown = alice.show_settle(bearing(show, ALICE)).await.unwrap().into_inner();
    assert!(shown.evidence.unwrap().sending_stopped);
    let sends = gateway.sim.books().sends(&number);

    let right = end_request(&number, settle.revision);
    let mistyped =
        v1::EndSettleRequest { confirm_out_settle_no: format!("{number}1"), ..right.clone() };
    let old = v1::EndSettleRequest { revision: seen.revision, ..right.clone() };
    for (wrong, reason) in
        [(right.clone(), "END_TOO_EARLY"), (mistyped, "INVALID_REQUEST"), (old, "REVISION_CHANGED")]
    {
        let status = alice.end_settle(bearing(wrong, ALICE)).await.unwrap_err();
        assert_eq!(details(&status).info.reason, reason);
    }
    let wait: Duration = stopped.wait.unwrap().try_into().unwrap();
    tokio::time::sleep(wait).await;
    let ended = loop {
        match alice.end_settle(bearing(right.clone(), ALICE)).await {
            Ok(ended) => break ended.into_inner().settle.unwrap(),
            // A worker is on it.
            Err(status) => assert_eq!(details(&status).info.reason, "END_TOO_EARLY"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(ended.state(), SettleState::Rejected);
    let heard = told().await;
    assert_eq!(heard, ended, "the watcher sees the end");
    let decision = heard.decision.unwrap();
    assert_eq!((decision.by(), &*decision.why), ("alice", "Douyin's support says so"));

    let again = shop.create_settle(bearing(create_request(&number), SHOP)).await.unwrap_err();
    let again = details(&again).info;
    let told = (again.reason.as_str(), again.metadata["outcome"].as_str());
    assert_eq!(told, ("ENDED_BY_OPERATOR", "refused"));
    assert_eq!(gateway.sim.books().sends(&number), sends, "nothing was sent after the stop");
}

/// A settle whose outcome is unknown, when no worker is on it.
async fn in_doubt() -> (Gateway, String) {
    let gateway = Gateway::spawn_with(simulator().await, |config| {
        soon(config);
        config.gateway.policy.grace = Duration::from_secs(2);
    })
    .await;
    let number = number("by-hand");
    gateway.sim.script(&number, vec![Script::Refuse(23000); 9]);
    gateway.create(create_request(&number)).await.unwrap_err();
    let rests = async {
        while gateway.show(&number).await.unwrap().evidence.unwrap().attempts == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within("the turn of the create to end", rests).await;
    (gateway, number)
}

async fn revision(gateway: &Gateway, number: &str) -> String {
    gateway.get(number).await.unwrap().revision.to_string()
}

#[tokio::test]
async fn a_person_ends_a_settle_with_one_command() {
    let (gateway, number) = in_doubt().await;
    let end = ["end", &number, "--as", "rejected", "--why", "ticket 4711"];
    let seen = revision(&gateway, &number).await;
    let run = async |more: &[&str]| {
        let (code, _, stderr) = settle(&gateway, "table", &[&end[..], more].concat()).await;
        (code, stderr)
    };
    for (slip, exit, said) in [
        (&[][..], 1, "--confirm"),
        (&["--no-wait"], 1, "--confirm"),
        (&["--revision", &seen, "--confirm", "other"], 1, "another number"),
        (&["--revision", &seen, "--confirm", "other", "--no-wait"], 1, "another number"),
        (&["--confirm", &number], 64, "--revision"),
        (&["--revision", "99", "--confirm", &number, "--no-wait"], 1, "REVISION_CHANGED"),
    ] {
        let (code, stderr) = run(slip).await;
        assert_eq!((code, stderr.contains(said)), (exit, true), "{slip:?}: {stderr}");
    }
    assert_eq!(gateway.get(&number).await.unwrap().decision, None, "a slip decides nothing");

    let (code, stderr) = run(&["--no-wait", "--revision", &seen, "--confirm", &number]).await;
    let stopped = revision(&gateway, &number).await;
    let said = format!("decide about revision {stopped}");
    assert_eq!((code, stderr.contains(&said)), (1, true), "{stderr}");
    let confirm = ["--revision", &stopped, "--confirm", &number];
    let stop = [&["stop", &number, "--why", "Douyin is asked again"], &confirm[..]].concat();
    let again = json(&gateway, &stop).await;
    let why = &again["settle"]["decision"]["why"];
    assert_eq!(why, "Douyin is asked again", "another reason is kept");
    assert!(again["wait"].as_str().unwrap().ends_with('s'), "{again}");

    let (code, stderr) = run(&confirm).await;
    assert_eq!((code, stderr.contains("REVISION_CHANGED")), (1, true), "{stderr}");
    let newest = revision(&gateway, &number).await;
    let confirmed = [&end[..], &["--revision", &newest, "--confirm", &number]].concat();
    let (code, stdout, stderr) = settle(&gateway, "table", &confirmed).await;
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    for part in ["never sent again", "Sending stops for good", "REJECTED", "ENDED_BY_OPERATOR"] {
        assert!(stdout.contains(part), "{part}: {stdout}");
    }
    let (code, _, stderr) = settle(&gateway, "table", &confirmed).await;
    assert_eq!((code, stderr.contains("SETTLE_FINAL")), (1, true), "{stderr}");
}

/// What a command says to a person who types this: exit code, standard output, standard error.
async fn typed(
    gateway: &Gateway,
    format: &str,
    arguments: &[&str],
    line: &str,
) -> (i32, String, String) {
    let (mut person, stdin) = terminal();
    person.write_all(line.as_bytes()).unwrap();
    let mut command = settle_command(&gateway.addrs.grpc.to_string(), format);
    command.args(arguments).stdin(stdin);
    ran(&mut command).await
}

/// Nothing is stopped before the number is typed.
#[tokio::test]
async fn at_a_terminal_a_person_sees_the_settle_and_types_its_number() {
    let (gateway, number) = in_doubt().await;
    let (ctrl_d, good) = ("\x04", format!("{number}\n"));
    let seen = revision(&gateway, &number).await;
    let stop = ["stop", &number, "--why", "ticket 4711"];
    let end = ["end", &number, "--as", "rejected", "--why", "ticket 4711", "--no-wait"];
    for arguments in [&stop[..], &end] {
        for line in ["other\n", "\n", ctrl_d] {
            let (code, stdout, stderr) = typed(&gateway, "table", arguments, line).await;
            assert_eq!((code, stderr.contains("another number")), (1, true), "{stderr}");
            for part in [&*number, "SUBMITTING", "Sending stops for good"] {
                assert!(stdout.contains(part), "{part}: {stdout}");
            }
        }
        let old = [arguments, &["--revision", "99"]].concat();
        let (code, _, stderr) = typed(&gateway, "table", &old, &good).await;
        let said = format!("it has revision {seen} by now");
        assert_eq!((code, stderr.contains(&said)), (1, true), "{stderr}");
    }
    assert_eq!(revision(&gateway, &number).await, seen);
    assert!(!gateway.show(&number).await.unwrap().evidence.unwrap().sending_stopped);

    // Standard output stays a program's.
    let (code, stdout, stderr) = typed(&gateway, "json", &stop, &good).await;
    assert_eq!((code, stderr.contains("Sending stops for good")), (0, true), "{stderr}");
    let stopped: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(stopped["settle"]["decision"]["why"], "ticket 4711");
    let (code, _, stderr) = typed(&gateway, "table", &end, &good).await;
    assert_eq!((code, stderr.contains("come back in")), (1, true), "{stderr}");
    let end = &end[..end.len() - 1];
    let (code, stdout, stderr) = typed(&gateway, "table", end, &good).await;
    assert_eq!((code, stdout.contains("ENDED_BY_OPERATOR")), (0, true), "{stdout} {stderr}");
}
