//! What an operator sees of settles, and the commands `settle …` by which a person does it.

mod ending;

use std::process::{Output, Stdio};
use std::time::Duration;

use douyin_sim::{Script, Status};
use serde_json::Value;
use settlement_gateway::callers::{Known, Right};
use settlement_gateway::proto::v1::{self, SettleState};
use settlement_gateway::server::Stopped;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tonic::Code;

use crate::callers::caller;
use crate::harness::{
    APP_ID, Gateway, create_on, create_request, details, in_every_system, number, simulator, within,
};

/// `settlement-gateway settle` at this address.
pub fn settle_command(addr: &str, format: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_settlement-gateway"));
    command.args(["settle", "--addr", addr, "--format", format]);
    command.env_remove("SETTLEMENT_CONFIG");
    command
}

/// Exit code, standard output, standard error.
async fn ran(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = within("the command", command.output()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

async fn settle(gateway: &Gateway, format: &str, arguments: &[&str]) -> (i32, String, String) {
    ran(settle_command(&gateway.addrs.grpc.to_string(), format).args(arguments)).await
}

/// What a command that succeeds prints as JSON.
async fn json(gateway: &Gateway, arguments: &[&str]) -> Value {
    let (code, stdout, stderr) = settle(gateway, "json", arguments).await;
    assert_eq!((code, stderr.as_str()), (0, ""), "{arguments:?}");
    serde_json::from_str(&stdout).unwrap()
}

/// A grace that does not end during a test.
async fn doubtful() -> Gateway {
    Gateway::spawn_with(simulator().await, |config| {
        config.gateway.policy.grace = Duration::from_secs(600);
    })
    .await
}

#[tokio::test]
async fn a_settle_in_doubt_is_shown_with_its_evidence_and_until_when_it_waits() {
    let gateway = doubtful().await;
    let number = number("doubt");
    gateway.sim.script(&number, vec![Script::Drop, Script::Refuse(23112)]);
    gateway.sim.always_query(Some(Script::json(200, r#"{"err_no":0,"data":[]}"#)));
    let status = gateway.create(create_request(&number)).await.unwrap_err();
    assert_eq!(details(&status).info.metadata["outcome"], "unknown");

    let shown = gateway.show(&number).await.unwrap();
    let (settle, evidence) = (shown.settle.unwrap(), shown.evidence.unwrap());
    assert_eq!(settle.state(), SettleState::Submitting);
    assert_eq!(evidence.unanswered_sends, 1);
    assert_eq!(evidence.refused.unwrap().reason, "NO_MONEY_TO_SETTLE");
    assert!(evidence.sent_ext.unwrap().starts_with("sg1:"));
    assert_eq!(shown.history.len(), usize::try_from(settle.revision).unwrap());
    let outlook = shown.outlook.unwrap();
    assert!(outlook.explanation.contains("NO_MONEY_TO_SETTLE"), "{outlook:?}");
    assert!(outlook.explanation.contains("REJECTED"), "{outlook:?}");
    // The grace and the time of a call after the last send.
    let (sent, until) = (evidence.last_send_time.unwrap(), outlook.until.unwrap());
    assert!((600..=602).contains(&(until.seconds - sent.seconds)), "{sent} {until}");
    assert!(outlook.next_check_time.is_some());
    assert_eq!(outlook.stuck_kind, None, "it only waits");
}

#[tokio::test]
async fn a_settle_that_has_ended_is_shown_by_either_name() {
    let gateway = Gateway::spawn().await;
    let number = number("ended");
    gateway.create(create_request(&number)).await.unwrap();
    let ended = gateway.end(&number).await;
    let by_number = gateway.show(&number).await.unwrap();
    let key = v1::show_settle_request::Key::SettleId(ended.settle_id().to_owned());
    let request = v1::ShowSettleRequest { key: Some(key), ..Default::default() };
    let by_id = gateway.operator.clone().show_settle(request).await.unwrap().into_inner();
    assert_eq!(by_id.settle, by_number.settle);
    let outlook = by_id.outlook.unwrap();
    assert_eq!((outlook.explanation.as_str(), outlook.until), ("It has ended.", None));
    assert_eq!(outlook.next_check_time, None);
    let status = gateway.show("never-heard-of").await.unwrap_err();
    assert_eq!(
        (status.code(), details(&status).info.reason.as_str()),
        (Code::NotFound, "SETTLE_NOT_FOUND")
    );
}

#[tokio::test]
async fn stuck_settles_are_listed_for_all_apps_or_for_one() {
    let gateway = Gateway::spawn_with(simulator().await, |config| {
        config.poller.sweep_interval = Duration::from_millis(100);
        config.apps.push(crate::harness::app("tt-other", "not-asked-for"));
    })
    .await;
    let number = number("stuck");
    gateway.sim.script(&number, vec![Script::Drop, Script::Refuse(23111)]);
    gateway.create(create_request(&number)).await.unwrap_err();
    let told = async {
        loop {
            let told = gateway.stuck("").await.unwrap();
            if !told.settles.is_empty() {
                return told;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let told = within("the settle to be listed", told).await;
    let [settle] = &told.settles[..] else { panic!("{told:?}") };
    assert_eq!((settle.app_id.as_str(), settle.out_settle_no.as_str()), (APP_ID, &*number));
    assert_eq!(
        (settle.kind.as_str(), settle.state()),
        ("exists_but_absent", SettleState::Submitting)
    );
    assert_eq!((told.counts.len(), told.counts[0].settles, told.unlisted), (1, 1, 0));
    assert_eq!(gateway.stuck(APP_ID).await.unwrap().settles.len(), 1);
    let other = gateway.stuck("tt-other").await.unwrap();
    assert_eq!((other.settles.len(), other.counts.len()), (0, 0));
    let shown = gateway.show(&number).await.unwrap().outlook.unwrap();
    assert_eq!(shown.stuck_kind.as_deref(), Some("exists_but_absent"));
    assert_eq!(shown.until, None, "no time ends it");
}

#[tokio::test]
async fn a_person_creates_follows_and_lists_settles_without_other_tools() {
    let gateway = Gateway::spawn().await;
    let (number, order) = (number("by-hand"), number("order"));
    let create = |amount: &'static str| {
        let receiver = format!("7278924576854329635={amount}");
        let create = ["create", &number, "--out-order-no", &order, "--settle-desc", "门店分账"];
        let create = create.map(str::to_owned);
        [&create[..], &["--receiver".to_owned(), receiver]].concat()
    };
    let run = async |arguments: Vec<String>| {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        settle(&gateway, "table", &arguments).await
    };
    let (code, stdout, stderr) = run(create("120")).await;
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.contains(&number) && stdout.contains("PROCESSING"), "{stdout}");
    assert!(stdout.contains("7278924576854329635 120 fen"), "{stdout}");
    let (code, stdout, _) = run(create("120")).await;
    assert_eq!((code, stdout.contains("recorded already")), (0, true), "{stdout}");
    let (code, _, stderr) = run(create("121")).await;
    assert_eq!(code, 1);
    assert!(stderr.contains("OUT_SETTLE_NO_CONFLICT"), "{stderr}");
    assert!(stderr.contains("Repeat it with the same number"), "{stderr}");

    let (code, stdout, stderr) = settle(&gateway, "table", &["watch", &number]).await;
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.lines().last().unwrap().contains("SUCCEEDED"), "{stdout}");
    let lines = settle(&gateway, "json", &["watch", &number]).await.1;
    let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!(last["state"], "SETTLE_STATE_SUCCEEDED");
    assert_eq!(last["settleParams"][0]["amountFen"], "120", "as protobuf's JSON has it");

    for arguments in [&["list"][..], &["query", &number], &["query", "--out-order-no", &order]] {
        let told = json(&gateway, arguments).await;
        assert_eq!(told["settles"][0]["outSettleNo"], *number, "{arguments:?}");
        let (_, table, _) = settle(&gateway, "table", arguments).await;
        assert!(table.contains(&number) && table.contains("SUCCEEDED"), "{table}");
    }
    assert_eq!(json(&gateway, &["list", "--state", "failed"]).await.get("settles"), None);
    let shown = json(&gateway, &["show", &number]).await;
    assert_eq!(shown["outlook"]["explanation"], "It has ended.");
    let (_, table, _) = settle(&gateway, "table", &["show", &number]).await;
    for part in ["why             It has ended.", "revision  time", "CREATE", "sg1:"] {
        assert!(table.contains(part), "{part}: {table}");
    }
}

#[tokio::test]
async fn a_list_goes_on_over_pages_up_to_its_limit() {
    let gateway = Gateway::spawn().await;
    for _ in 0..7 {
        let create = create_on(&number("page"), "sim-hold-1");
        gateway
            .create(v1::CreateSettleRequest { out_order_no: number("order"), ..create })
            .await
            .unwrap();
    }
    let told = json(&gateway, &["list", "--limit", "5"]).await;
    assert_eq!(told["settles"].as_array().unwrap().len(), 5);
    assert!(told["nextPageToken"].is_string(), "there is more");
    let (_, table, _) = settle(&gateway, "table", &["list", "--limit", "5"]).await;
    assert!(table.ends_with("and more\n"), "{table}");
    assert_eq!(json(&gateway, &["list"]).await["settles"].as_array().unwrap().len(), 7);
}

#[tokio::test]
async fn a_person_lists_one_system_and_asks_what_is_left_of_an_order() {
    let gateway = Gateway::spawn_with(simulator().await, |config| {
        in_every_system(config);
        config.grpc.unsettled_amount_elsewhere = false;
    })
    .await;
    let (general, industry) = (number("general"), number("industry"));
    gateway.create(create_request(&general)).await.unwrap();
    let trade_system = v1::TradeSystem::Industry.into();
    let request = v1::CreateSettleRequest { trade_system, ..create_request(&industry) };
    gateway.create(request).await.unwrap();
    for (arguments, numbers) in [
        (&["list"][..], &[&industry, &general][..]),
        (&["list", "--trade-system", "general"], &[&general]),
        (&["list", "--trade-system", "industry"], &[&industry]),
    ] {
        let told = json(&gateway, arguments).await;
        let settles = told["settles"].as_array().unwrap().iter();
        let listed: Vec<_> = settles.map(|settle| settle["outSettleNo"].as_str()).collect();
        let numbers: Vec<_> = numbers.iter().map(|number| Some(number.as_str())).collect();
        assert_eq!(listed, numbers, "{arguments:?}");
    }
    let none = json(&gateway, &["list", "--trade-system", "self_operated"]).await;
    assert_eq!(none.get("settles"), None);

    let left = ["left", "an-order", "--trade-system", "guaranteed"];
    let told = json(&gateway, &left).await;
    assert_eq!(
        (told["paidAmountFen"].as_str(), told["refundedAmountFen"].as_str()),
        (Some("100000"), Some("0"))
    );
    let unsettled = told["unsettledAmountFen"].as_str().unwrap();
    let (code, table, stderr) = settle(&gateway, "table", &left).await;
    assert_eq!((code, stderr.as_str()), (0, ""));
    let line = table.lines().find(|line| line.starts_with("unsettled")).unwrap();
    assert!(line.ends_with(&format!(" {unsettled} fen")), "{table}");
    for elsewhere in ["general", "self_operated", "industry", "agency"] {
        let left = ["left", "an-order", "--trade-system", elsewhere];
        let (code, stdout, stderr) = settle(&gateway, "table", &left).await;
        assert_eq!((code, stdout.as_str()), (1, ""), "{elsewhere}");
        assert!(stderr.contains("SYSTEM_HAS_NO_UNSETTLED_AMOUNT"), "{stderr}");
    }
    assert_eq!(settle(&gateway, "table", &["left", "n", "--trade-system", "no"]).await.0, 64);
}

#[tokio::test]
async fn a_watch_goes_on_where_its_stream_was_cut_off() {
    let mut gateway = Gateway::spawn().await;
    let number = number("held");
    let settle = gateway.create(create_on(&number, "sim-hold-1")).await.unwrap();
    let addr = gateway.addrs.grpc;
    let mut watch = settle_command(&addr.to_string(), "json");
    watch.args(["watch", &number]).stdout(Stdio::piped()).kill_on_drop(true);
    let mut watch = watch.spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut told = vec![within("the first line", lines.next_line()).await.unwrap().unwrap()];
    // The next gateway listens where the first one did.
    assert_eq!(gateway.stop().await, Stopped::Gracefully);
    let gateway = gateway.started_again_at(addr).await;
    assert!(gateway.sim.finish(settle.settle_id(), Status::Success));
    while let Some(line) = within("a line", lines.next_line()).await.unwrap() {
        told.push(line);
    }
    assert!(within("the end of the watch", watch.wait()).await.unwrap().success());
    let told: Vec<Value> = told.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(told.last().unwrap()["state"], "SETTLE_STATE_SUCCEEDED");
    let revision = |settle: &Value| settle["revision"].as_str().unwrap().parse::<i64>().unwrap();
    assert!(told.is_sorted_by(|a, b| revision(a) < revision(b)), "told twice: {told:?}");
}

#[tokio::test]
async fn a_token_in_a_file_opens_the_commands_and_no_message_shows_it() {
    const TOKEN: &str = "of-the-shop-0123456789abcdef0123456789";
    let gateway = Gateway::spawn_with(simulator().await, |config| {
        config.callers = Known::new([caller("shop", &["*"], &Right::ALL, TOKEN)], []);
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let file = file.to_str().unwrap();
    let (code, _, stderr) = settle(&gateway, "json", &["list"]).await;
    assert_eq!(code, 1);
    let status: Value = serde_json::from_str(&stderr).unwrap();
    assert_eq!(status["code"], 16, "{stderr}");
    assert_eq!(status["details"][0]["reason"], "UNAUTHENTICATED", "{stderr}");
    let (code, stdout, stderr) = settle(&gateway, "json", &["list", "--token-file", file]).await;
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    let mut by_input = settle_command(&gateway.addrs.grpc.to_string(), "json");
    by_input.args(["list", "--token-file", "-"]).stdin(std::fs::File::open(file).unwrap());
    let (code, stdout, stderr) = ran(&mut by_input).await;
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    let missing = dir.path().join("missing");
    let missing = missing.to_str().unwrap();
    std::fs::write(dir.path().join("wrong"), "two\nlines").unwrap();
    let wrong = dir.path().join("wrong");
    for file in [missing, wrong.to_str().unwrap()] {
        let (code, _, stderr) = settle(&gateway, "table", &["list", "--token-file", file]).await;
        assert_eq!(code, 1);
        assert!(stderr.contains(file) && !stderr.contains("lines"), "{stderr}");
    }
}

#[tokio::test]
async fn what_a_command_cannot_do_is_said_in_the_form_that_was_asked_for() {
    let gateway = Gateway::spawn().await;
    let (code, stdout, stderr) = settle(&gateway, "table", &["show", "unknown"]).await;
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.contains("SETTLE_NOT_FOUND"), "{stderr}");
    for usage in [&["show"][..], &["query"], &["create", "n"], &["resolve", "n", "--keep", "both"]]
    {
        assert_eq!(settle(&gateway, "table", usage).await.0, 64, "{usage:?}");
    }
    // Where no gateway is.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = free.local_addr().unwrap().to_string();
    drop(free);
    let (code, _, stderr) = ran(settle_command(&addr, "json").arg("list")).await;
    assert_eq!(code, 1);
    let said: Value = serde_json::from_str(&stderr).unwrap();
    assert!(said["message"].as_str().unwrap().contains("refused"), "{said}");
}

/// A caller learns nothing of an app that is not its own.
#[tokio::test]
async fn an_operator_is_told_only_of_the_apps_that_it_may_use() {
    let gateway = Gateway::spawn_with(simulator().await, |config| {
        config.poller.sweep_interval = Duration::from_millis(100);
        config.apps.push(crate::harness::app("tt-other", "not-asked-for"));
        let callers = [
            caller("all", &["*"], &Right::ALL, "all"),
            caller("other", &["tt-other"], &[Right::Operate], "other"),
        ];
        config.callers = Known::new(callers, []);
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let token_file = |token: &str| {
        let file = dir.path().join(token);
        std::fs::write(&file, token).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let (all, other) = (token_file("all"), token_file("other"));
    let number = number("theirs");
    gateway.sim.script(&number, vec![Script::Drop, Script::Refuse(23111)]);
    let create = ["create", &number, "--out-order-no", "o", "--settle-desc", "d"];
    let create = [&create[..], &["--token-file", &all]].concat();
    assert_eq!(settle(&gateway, "json", &create).await.0, 1, "its outcome is unknown");
    let listed = async {
        while json(&gateway, &["stuck", "--token-file", &all]).await.get("settles").is_none() {}
    };
    within("the settle to be listed", listed).await;
    let told = json(&gateway, &["stuck", "--token-file", &other]).await;
    assert!(told.get("lookedTime").is_some());
    assert_eq!((told.get("settles"), told.get("counts")), (None, None));
    for of_another in [&["stuck", "--app-id", APP_ID][..], &["show", &number], &["list"]] {
        let arguments = [of_another, &["--token-file", &other]].concat();
        let (code, _, stderr) = settle(&gateway, "table", &arguments).await;
        assert_eq!((code, stderr.contains("FORBIDDEN")), (1, true), "{of_another:?}: {stderr}");
    }
}

#[tokio::test]
async fn a_decision_is_shown_with_who_took_it_and_why() {
    let gateway = Gateway::spawn_with(simulator().await, |config| {
        let callers = [
            caller("shop", &["*"], &[Right::Create, Right::Read], "shop"),
            caller("alice", &["*"], &[Right::Operate], "alice"),
        ];
        config.callers = Known::new(callers, []);
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let run = async |token: &str, format: &str, arguments: &[&str]| {
        let file = dir.path().join(token);
        std::fs::write(&file, token).unwrap();
        let arguments = [arguments, &["--token-file", file.to_str().unwrap()]].concat();
        let (code, stdout, stderr) = settle(&gateway, format, &arguments).await;
        assert_eq!((code, stderr.as_str()), (0, ""), "{arguments:?}");
        stdout
    };
    let number = number("decided");
    let create = ["create", &number, "--out-order-no", "sim-hold-1", "--settle-desc", "d"];
    let created: Value = serde_json::from_str(&run("shop", "json", &create).await).unwrap();
    let settle_id = created["settle"]["settleId"].as_str().unwrap();
    assert!(gateway.sim.finish(settle_id, Status::Success));
    run("shop", "json", &["watch", &number]).await;
    assert!(gateway.sim.set_status(settle_id, Status::Fail));
    run("shop", "json", &["query", &number]).await;
    let why = "Douyin's support wrote so, ticket 4711";
    let shown: Value =
        serde_json::from_str(&run("alice", "json", &["show", &number]).await).unwrap();
    let revision = shown["settle"]["revision"].as_str().unwrap();
    let resolve = ["resolve", &number, "--keep", "recorded", "--why", why];
    let seen = ["--revision", revision, "--confirm", &number];
    run("alice", "json", &[&resolve[..], &seen].concat()).await;

    let shown: Value =
        serde_json::from_str(&run("alice", "json", &["show", &number]).await).unwrap();
    assert_eq!(shown["settle"]["createdBy"], "shop");
    let decision = &shown["settle"]["decision"];
    assert_eq!((&decision["by"], &decision["why"]), (&"alice".into(), &why.into()));
    let last = shown["history"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["by"], &last["why"]), (&"alice".into(), &why.into()));
    let table = run("alice", "table", &["show", &number]).await;
    for part in ["by shop", "by alice: Douyin's support wrote so,", why] {
        assert!(table.contains(part), "{part}: {table}");
    }
}
