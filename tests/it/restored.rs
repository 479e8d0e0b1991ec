//! A backup is put in the place of the database, as an operator does it, and `restored` says so:
//! what was told since the backup stays true, although nothing here knows it any more.

use std::fs;
use std::path::Path;

use douyin_sim::{Script, Simulator};
use settlement_gateway::proto::v1::SettleState;
use tempfile::TempDir;
use tonic::Code;

use crate::harness::{assert_create_error, create_request, number, simulator, within};
use crate::process::{Process, Setting, database, run};

/// Quick enough for a test to wait for every grace.
fn setting() -> Setting {
    let douyin = "connect_timeout_ms = 500\nattempt_timeout_ms = 700\ncall_timeout_ms = 1500\n";
    Setting { douyin: douyin.to_owned(), ..Setting::default() }
}

async fn stop(gateway: Process) {
    gateway.signal("TERM").await;
    let (status, log) = gateway.ended().await;
    assert!(status.success(), "{log}");
}

/// The backup of a settle in doubt, whose caller is told later that it is refused; then the backup
/// is put back, and the order has money again. Returns how often the settle was sent after that.
async fn sends_after_the_restore(sim: &Simulator, dir: &Path, announced: bool) -> usize {
    let number = number("restored");
    sim.always_create(Some(Script::Refuse(23_000)));
    let gateway = Process::start(sim, dir, setting()).await;
    let create = gateway.client.clone().create_settle(create_request(&number)).await;
    assert_create_error(&create.unwrap_err(), Code::Unavailable, "SYSTEM_ERROR", "unknown");
    stop(gateway).await;
    let backup = dir.join("backup.db");
    fs::copy(database(dir), &backup).unwrap();

    sim.always_create(Some(Script::Refuse(23_112)));
    let gateway = Process::start(sim, dir, setting()).await;
    assert_eq!(gateway.end(&number).await.state(), SettleState::Rejected);
    stop(gateway).await;

    fs::copy(&backup, database(dir)).unwrap();
    sim.always_create(None);
    let before = sim.books().sends(&number);
    if announced {
        let output = within("the command", run(dir, "restored")).await;
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(said.contains("generation 1: 1 open settle"), "{said}");
    }
    let gateway = Process::start(sim, dir, setting()).await;
    let end = gateway.end(&number).await;
    let expected = if announced { SettleState::Rejected } else { SettleState::Succeeded };
    assert_eq!(end.state(), expected);
    sim.books().sends(&number) - before
}

#[tokio::test]
async fn what_was_open_in_a_restored_backup_is_never_sent_again_and_rejected_by_proof() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    assert_eq!(sends_after_the_restore(&sim, dir.path(), true).await, 0);
}

/// The accident that the command prevents: its caller was told `refused`, and may have paid under
/// another number.
#[tokio::test]
async fn without_the_command_a_refused_settle_is_sent_again() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    assert_eq!(sends_after_the_restore(&sim, dir.path(), false).await, 1);
}

/// What was first sent after the backup is gone, and comes back as the repeat of its caller. Douyin
/// may refuse that by another rule before it looks at the number: the money is gone, into the very
/// settle that was forgotten.
async fn answer_to_a_repeat(dir: &Path, announced: bool) -> SettleState {
    let sim = simulator().await;
    let number = number("forgotten");
    let request = create_request(&number);
    stop(Process::start(&sim, dir, setting()).await).await;
    let backup = dir.join("backup.db");
    fs::copy(database(dir), &backup).unwrap();
    let gateway = Process::start(&sim, dir, setting()).await;
    gateway.create(request.clone()).await.expect("Douyin takes it");
    stop(gateway).await;

    fs::copy(&backup, database(dir)).unwrap();
    if announced {
        assert!(within("the command", run(dir, "restored")).await.status.success());
    }
    sim.always_create(Some(Script::Refuse(23_112)));
    let gateway = Process::start(&sim, dir, setting()).await;
    let repeated = gateway.create(request).await;
    if announced {
        let settle = gateway.end(&number).await;
        // Either a query found it before the answer left, or the answer claimed nothing.
        if let Err(status) = repeated {
            assert_create_error(&status, Code::FailedPrecondition, "NO_MONEY_TO_SETTLE", "unknown");
        }
        // A refusal that is one is told after the grace.
        let refused = self::number("refused");
        let told = gateway.create(create_request(&refused)).await.unwrap_err();
        assert_create_error(&told, Code::FailedPrecondition, "NO_MONEY_TO_SETTLE", "unknown");
        assert_eq!(gateway.end(&refused).await.state(), SettleState::Rejected);
        assert_eq!(sim.books().sends(&refused), 1);
        settle.state()
    } else {
        let refused = repeated.unwrap_err();
        assert_create_error(&refused, Code::FailedPrecondition, "NO_MONEY_TO_SETTLE", "refused");
        SettleState::Rejected
    }
}

#[tokio::test]
async fn a_repeat_of_what_a_restored_backup_does_not_know_is_not_told_the_refusal_of_a_first_send()
{
    let dir = TempDir::new().unwrap();
    assert_eq!(answer_to_a_repeat(dir.path(), true).await, SettleState::Succeeded);
}

/// The accident that the command prevents: the settle lives.
#[tokio::test]
async fn without_the_command_a_repeat_is_told_so() {
    let dir = TempDir::new().unwrap();
    assert_eq!(answer_to_a_repeat(dir.path(), false).await, SettleState::Rejected);
}

#[tokio::test]
async fn the_command_needs_a_database_that_no_gateway_has_open() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let gateway = Process::start(&sim, dir.path(), setting()).await;
    let output = within("the command", run(dir.path(), "restored")).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("in use by another gateway"));
    stop(gateway).await;
    fs::remove_file(database(dir.path())).unwrap();
    let output = within("the command", run(dir.path(), "restored")).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(!database(dir.path()).exists(), "it makes no database");
}
