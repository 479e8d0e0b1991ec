//! A key of an earlier version is refused, and says what holds now.

use settlement_gateway::config::{self, Problems};

use super::{ONE_APP, load};

/// Where the reference tells them.
pub const HEADING: &str = "### Keys that are gone\n";

#[test]
fn a_key_that_is_gone_is_refused_and_says_what_holds_now() {
    let reference = config::markdown();
    let (_, gone) = reference.split_once(HEADING).unwrap();
    let rows: Vec<_> = gone.lines().filter(|line| line.starts_with("| `")).collect();
    assert!(!rows.is_empty());
    for row in rows {
        let mut cells = row.split('|').map(|cell| cell.trim().trim_matches('`')).skip(1);
        let (path, now) = (cells.next().unwrap(), cells.next().unwrap());
        let (table, key) = path.split_once('.').unwrap();
        let told = format!("{path} is no key any more: it is {now} for every gateway; remove it");
        let refused = load(&format!("[{table}]\n{key} = {now}\n{ONE_APP}"), &[]);
        let Problems(problems) = refused.map(drop).expect_err(path);
        assert_eq!(problems, [format!("gateway.toml:2:1: {told}")]);
        let variable = format!("SETTLEMENT_{}", path.replace('.', "_").to_ascii_uppercase());
        let refused = load(ONE_APP, &[(&variable, now)]);
        let Problems(problems) = refused.map(drop).expect_err(path);
        assert_eq!(problems, [format!("{variable}: {told}")]);
    }
}
