//! Stuck settles are counted, logged once when it begins, and listed by a command.

use super::*;
use crate::operator::settle_command;

/// A process that looks for stuck settles all the time.
async fn process(sim: &Simulator, dir: &std::path::Path) -> Process {
    let more = "[poller]\nsweep_interval_ms = 100\n".to_owned();
    Process::start(sim, dir, Setting { more, ..Setting::default() }).await
}

async fn listed(process: &Process, format: &str) -> String {
    let addr = process.grpc_addr().to_string();
    let command = settle_command(&addr, format).arg("stuck").output();
    let output = within("the command", command).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Waits until the command lists a settle so, or not at all.
async fn until_listed(process: &Process, number: &str, kind: Option<&str>) {
    let listed = async {
        loop {
            let told: Value = serde_json::from_str(&listed(process, "json").await).unwrap();
            let mut settles = told["settles"].as_array().into_iter().flatten();
            let found = settles.find(|settle| settle["outSettleNo"] == *number);
            let looked = !told["lookedTime"].is_null();
            if looked && found.map(|settle| settle["kind"].as_str().unwrap()) == kind {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(&format!("{number} to be listed as {kind:?}"), listed).await;
}

fn gauge(kind: &str) -> String {
    format!("settlement_settles_stuck{{app_id=\"{APP_ID}\",kind=\"{kind}\"}}")
}

async fn is_told(process: Process, number: &str, kind: &str) {
    process.signal("TERM").await;
    let (_, log) = process.ended().await;
    let is_line = |line: &&str| {
        line.contains("a settle does not come to its end")
            && line.contains(number)
            && line.contains(kind)
    };
    let told = log.lines().filter(is_line).count();
    assert_eq!(told, 1, "{log}");
}

#[tokio::test]
async fn a_status_word_that_no_document_lists_is_seen_until_it_is_gone() {
    for word in ["CLOSED", "success"] {
        let (sim, dir) = (simulator().await, tempfile::tempdir().unwrap());
        let process = process(&sim, dir.path()).await;
        let none = format!("{} 0", gauge("unlisted_status"));
        let there = async { while !process.metrics().await.contains(&none) {} };
        within("the series to be there from the start", there).await;
        let number = number("word");
        let settle = process.create(create_on(&number, "sim-hold-1")).await.unwrap();
        let mut shown = found(&settle, &number);
        shown["settle_status"] = json!(word);
        let answer = json!({ "err_no": 0, "data": [shown] }).to_string();
        sim.always_query(Some(Script::json(200, answer)));
        until_listed(&process, &number, Some("unlisted_status")).await;
        assert!(process.metrics().await.contains(&format!("{} 1", gauge("unlisted_status"))));
        let table = listed(&process, "table").await;
        assert!(table.contains(&number) && table.contains("unlisted_status"), "{table}");
        sim.always_query(None);
        sim.finish(settle.settle_id(), douyin_sim::Status::Success);
        assert_eq!(process.end(&number).await.state(), SettleState::Succeeded, "safe all the time");
        until_listed(&process, &number, None).await;
        let gone = async { while !process.metrics().await.contains(&none) {} };
        within("the count to fall", gone).await;
        is_told(process, &number, "unlisted_status").await;
    }
}

/// Kinds of trouble, each caused from outside.
#[tokio::test]
async fn every_kind_of_trouble_at_douyin_is_listed_as_what_it_is() {
    let null = || Script::json(200, json!({ "err_no": 0, "data": null }).to_string());
    let empty = || Script::json(200, json!({ "err_no": 0, "data": [] }).to_string());
    let lost = || vec![Script::apply_then(Script::Drop); 2];
    let cases = [
        ("unreadable_answer", lost(), null()),
        ("unlisted_answer", vec![Script::Refuse(98_765); 2], null()),
        ("not_shown", Vec::new(), empty()),
    ];
    for (kind, creates, queries) in cases {
        let (sim, dir) = (simulator().await, tempfile::tempdir().unwrap());
        let process = process(&sim, dir.path()).await;
        let number = number("kind");
        sim.script(&number, creates);
        sim.always_query(Some(queries));
        // However it is answered: it is recorded.
        let _ = process.create(create_on(&number, "sim-hold-1")).await;
        until_listed(&process, &number, Some(kind)).await;
        is_told(process, &number, kind).await;
    }
}

/// A settle of an app that was taken out of the configuration.
#[tokio::test]
async fn the_settles_of_a_parked_app_and_of_a_newer_version_are_listed() {
    let (sim, dir) = (simulator().await, tempfile::tempdir().unwrap());
    let (parked, newer, disputed) = (number("parked"), number("newer"), number("disputed"));
    let first = process(&sim, dir.path()).await;
    for (number, order) in [(&parked, "sim-hold-1"), (&newer, "sim-hold-2")] {
        first.create(create_on(number, order)).await.unwrap();
    }
    first.create(create_request(&disputed)).await.unwrap();
    assert_eq!(first.end(&disputed).await.state(), SettleState::Succeeded);
    first.signal("TERM").await;
    first.ended().await;
    let database = rusqlite::Connection::open(crate::process::database(dir.path())).unwrap();
    for (change, number) in [
        ("UPDATE settle SET app_id = 'tt-parked' WHERE out_settle_no = ?", &parked),
        ("UPDATE settle SET state = 'FROZEN' WHERE out_settle_no = ?", &newer),
        (
            "UPDATE settle SET contradiction_claimed = 'FAILED', contradiction_time_ms = 0,
             contradiction_settle_id = settle_id, contradiction_source = 'CALLBACK'
             WHERE out_settle_no = ?",
            &disputed,
        ),
    ] {
        assert_eq!(database.execute(change, [number]).unwrap(), 1);
    }
    drop(database);
    let second = process(&sim, dir.path()).await;
    until_listed(&second, &parked, Some("app_not_configured")).await;
    until_listed(&second, &newer, Some("newer_version")).await;
    until_listed(&second, &disputed, Some("contradiction")).await;
    second.logged("the settles of an app do not come to their end").await;
}

#[tokio::test]
async fn the_settles_of_an_app_whose_credentials_are_rejected_are_listed() {
    let (sim, dir) = (simulator().await, tempfile::tempdir().unwrap());
    let number = number("rejected");
    let first = process(&sim, dir.path()).await;
    first.create(create_on(&number, "sim-hold-1")).await.unwrap();
    first.signal("TERM").await;
    first.ended().await;
    let database = rusqlite::Connection::open(crate::process::database(dir.path())).unwrap();
    assert_eq!(database.execute("DELETE FROM token", []).unwrap(), 1);
    drop(database);
    sim.always_token(Some(Script::Refuse(10_013)));
    let second = process(&sim, dir.path()).await;
    until_listed(&second, &number, Some("credentials_rejected")).await;
}
