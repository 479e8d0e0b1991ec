//! The bench works: every server answers, every create is found again. The figures mean nothing.

use std::path::Path;
use std::process::Command;

#[test]
fn a_short_table_is_printed_and_its_creates_are_found() {
    let bench = Path::new(env!("CARGO_BIN_EXE_settlement-bench"));
    // Built beside it by every command that builds the workspace's tests.
    let gateway = bench.with_file_name("settlement-gateway");
    assert!(gateway.exists(), "the gateway is not built: cargo build");
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("smoke");
    let ran = Command::new(bench)
        .args(["table", "--rounds", "1", "--warm-up-ms", "20", "--measured-ms", "100"])
        .args(["--repeats", "0"])
        .arg("--gateway")
        .arg(gateway)
        .arg("--directory")
        .arg(directory)
        .output()
        .unwrap();
    let printed = String::from_utf8(ran.stdout).unwrap();
    assert!(ran.status.success(), "{printed}{}", String::from_utf8_lossy(&ran.stderr));
    for said in ["| 1 | upstream", "| 64 | bare", "| 256 | gateway", "in its store once"] {
        assert!(printed.contains(said), "{said}: {printed}");
    }
}
