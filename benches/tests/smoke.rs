//! The bench works: every server answers, every create is found again. The figures mean nothing.

use std::path::Path;
use std::process::Command;

/// What a part of the bench printed; it fails if a create is lost.
fn printed_by(part: &str, options: &[&str]) -> String {
    printed_by_in(part, part, options)
}

/// The same in a directory of this name.
fn printed_by_in(directory: &str, part: &str, options: &[&str]) -> String {
    let bench = Path::new(env!("CARGO_BIN_EXE_settlement-bench"));
    // Built beside it by every command that builds the workspace's tests.
    let gateway = bench.with_file_name("settlement-gateway");
    assert!(gateway.exists(), "the gateway is not built: cargo build");
    let ran = Command::new(bench)
        .arg(part)
        .arg("--gateway")
        .arg(gateway)
        .arg("--directory")
        .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join(directory))
        .args(options)
        .output()
        .unwrap();
    let printed = String::from_utf8(ran.stdout).unwrap();
    assert!(ran.status.success(), "{printed}{}", String::from_utf8_lossy(&ran.stderr));
    printed
}

#[test]
fn a_short_table_is_printed_and_its_creates_are_found() {
    let short = ["--rounds", "1", "--warm-up-ms", "20", "--measured-ms", "100", "--repeats", "0"];
    let printed = printed_by("table", &short);
    for said in ["| 1 | upstream", "| 64 | bare", "| 256 | gateway", "in its store once"] {
        assert!(printed.contains(said), "{said}: {printed}");
    }
}

#[test]
fn watchers_hear_of_callbacks() {
    let printed = printed_by("watches", &["--watches", "200", "--settled-ms", "0"]);
    assert!(printed.contains("one change to 200 watchers"), "{printed}");
}

#[test]
fn watches_by_mtls_are_measured() {
    let options = ["--watches", "200", "--settled-ms", "0", "--mtls"];
    let printed = printed_by_in("watches-mtls", "watches", &options);
    assert!(printed.contains("connections by mTLS, each with a call"), "{printed}");
}
