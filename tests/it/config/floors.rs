//! The keys on which money hangs have floors, below which only a rehearsal may go, and a rehearsal
//! says what it is.

use std::fs;

use settlement_gateway::config::{self, Problems};
use tempfile::TempDir;

use super::{ONE_APP, checked, gateway, load, problems, ran};
use crate::harness::simulator;
use crate::process::{Process, Setting};

/// A key and its least value, as the reference tells it.
struct Floor {
    table: String,
    key: String,
    least: u64,
}

impl Floor {
    fn path(&self) -> String {
        format!("{}.{}", self.table, self.key)
    }

    fn variable(&self) -> String {
        format!("SETTLEMENT_{}", self.path().replace('.', "_").to_ascii_uppercase())
    }

    /// What is said about the greatest value below it.
    fn refusal(&self) -> String {
        let (is, least) = (grouped(self.least - 1), grouped(self.least));
        let path = self.path();
        format!("{path} is {is}; it must be at least {least} unless rehearsal is true")
    }
}

fn grouped(number: u64) -> String {
    match (number / 1_000, number % 1_000) {
        (0, rest) => rest.to_string(),
        (thousands, rest) => format!("{}_{rest:03}", grouped(thousands)),
    }
}

/// Every floor there is.
fn floors() -> Vec<Floor> {
    let (mut floors, mut table) = (Vec::new(), "");
    let reference = config::markdown();
    for line in reference.lines() {
        if let Some(heading) = line.strip_prefix("### `[") {
            table = heading.trim_end_matches("]`");
        }
        let least = line.split_once(" unless `rehearsal`").map(|(before, _)| before);
        if let Some((_, least)) = least.and_then(|before| before.rsplit_once("at least ")) {
            let key = line.split('`').nth(1).unwrap().to_owned();
            let least = least.replace('_', "").parse().unwrap();
            floors.push(Floor { table: table.to_owned(), key, least });
        }
    }
    floors
}

/// Every key at its floor, but for one that is lower.
fn file(head: &str, low: Option<&Floor>) -> String {
    let table = |name: &str| {
        let floors = floors().into_iter().filter(|floor| floor.table == name);
        let line = |floor: Floor| {
            let is_low = low.is_some_and(|low| low.path() == floor.path());
            format!("{} = {}\n", floor.key, floor.least - u64::from(is_low))
        };
        format!("[{name}]\n{}", floors.map(line).collect::<String>())
    };
    let (douyin, settle) = (table("douyin"), table("settle"));
    format!("{head}{douyin}connect_timeout_ms = 100\nattempt_timeout_ms = 100\n{settle}{ONE_APP}")
}

#[test]
fn a_value_below_a_floor_is_refused_wherever_it_is_set_unless_it_is_a_rehearsal() {
    let paths: Vec<_> = floors().iter().map(Floor::path).collect();
    let expected = [
        "douyin.call_timeout_ms",
        "settle.visibility_grace_ms",
        "settle.exists_absent_max_ms",
        "settle.lease_ms",
    ];
    assert_eq!(paths, expected);
    assert!(load(&file("", None), &[]).is_ok(), "a floor is permitted");
    for floor in floors() {
        let low = (floor.least - 1).to_string();
        let by_file = file("", Some(&floor));
        let Problems(told) = load(&by_file, &[]).map(drop).expect_err(&floor.key);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("gateway.toml:"), "{told:?}");
        assert!(told[0].ends_with(&floor.refusal()), "{told:?}");
        let variable = floor.variable();
        let Problems(told) =
            load(&file("", None), &[(&variable, &low)]).map(drop).expect_err(&floor.key);
        assert_eq!(told, [format!("{variable}: {}", floor.refusal())]);
        for is_rehearsal in [
            load(&file("rehearsal = true\n", Some(&floor)), &[]),
            load(&by_file, &[("SETTLEMENT_REHEARSAL", "true")]),
            load(&file("rehearsal = true\n", None), &[(&variable, &low)]),
        ] {
            assert!(is_rehearsal.is_ok(), "{}: {:?}", floor.key, is_rehearsal.err());
        }
        let real = [("SETTLEMENT_REHEARSAL", "false")];
        assert!(load(&file("rehearsal = true\n", Some(&floor)), &real).is_err(), "{}", floor.key);
    }
}

#[test]
fn a_value_below_a_floor_keeps_serve_from_starting() {
    let dir = TempDir::new().unwrap();
    let floor = &floors()[0];
    fs::write(dir.path().join("gateway.toml"), file("", Some(floor))).unwrap();
    let arguments = ["serve", "--config", "gateway.toml"];
    let (code, _, stderr) = ran(gateway(&arguments, &[]).current_dir(dir.path()));
    assert_eq!(code, 64);
    assert!(problems(&stderr)[0].ends_with(&floor.refusal()), "{stderr}");
}

const TOLD: &str = "rehearsal is true: keys on which money hangs may be lower than is safe";

#[tokio::test]
async fn every_start_of_a_rehearsal_says_so_and_a_metric_shows_it() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    for (rehearsal, shown) in [(true, 1.0), (false, 0.0), (true, 1.0)] {
        let setting = Setting { with_money: !rehearsal, ..Setting::default() };
        let process = Process::start(&sim, dir.path(), setting).await;
        assert!((process.metric("settlement_rehearsal").await - shown).abs() < 0.1);
        process.signal("TERM").await;
        let (_, log) = process.ended().await;
        let warnings = log.lines().filter(|line| line.contains(r#""level":"WARN""#));
        assert_eq!(warnings.filter(|line| line.contains(TOLD)).count(), usize::from(rehearsal));
    }
}

#[test]
fn check_config_warns_of_a_rehearsal() {
    let (code, _, stderr) = checked(&format!("rehearsal = true\n{ONE_APP}"), &[]);
    assert_eq!(code, 0);
    assert!(stderr.starts_with(&format!("settlement-gateway: warning: {TOLD}")), "{stderr}");
    assert_eq!(checked(ONE_APP, &[]).2, "");
}
