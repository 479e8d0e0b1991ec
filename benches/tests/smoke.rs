//! The bench works: every server answers, every create is found again. The figures mean nothing.

use std::path::Path;
use std::process::Command;

/// What a part of the bench printed; it fails if a create is lost.
fn printed_by(part: &str, options: &[&str]) -> String {
    printed_by_in(&Path::new(env!("CARGO_TARGET_TMPDIR")).join(part), part, options)
}

/// The same in another directory.
fn printed_by_in(directory: &Path, part: &str, options: &[&str]) -> String {
    let bench = Path::new(env!("CARGO_BIN_EXE_settlement-bench"));
    // Built beside it by every command that builds the workspace's tests.
    let gateway = bench.with_file_name("settlement-gateway");
    assert!(gateway.exists(), "the gateway is not built: cargo build");
    let ran = Command::new(bench)
        .arg(part)
        .arg("--gateway")
        .arg(gateway)
        .arg("--directory")
        .arg(directory)
        .args(options)
        .output()
        .unwrap();
    let printed = String::from_utf8(ran.stdout).unwrap();
    assert!(ran.status.success(), "{printed}{}", String::from_utf8_lossy(&ran.stderr));
    printed
}

const SHORT: [&str; 8] =
    ["--rounds", "1", "--warm-up-ms", "20", "--measured-ms", "100", "--repeats", "0"];

/// The user of the PostgreSQL that scripts/postgres starts must get there.
fn printed_with_postgres(part: &str, options: &[&str]) -> String {
    let directory = std::env::temp_dir().join(format!("settlement-{part}-{}", std::process::id()));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("scripts").join("postgres");
    let postgres = ["--postgres", script.to_str().unwrap()];
    let printed = printed_by_in(&directory, part, &[options, &postgres].concat());
    std::fs::remove_dir_all(&directory).unwrap();
    printed
}

#[test]
fn a_short_table_is_printed_and_its_creates_are_found() {
    let printed = printed_with_postgres("table", &SHORT);
    for said in [
        "| 1 | upstream",
        "| 64 | bare",
        "| 256 | gateway, SQLite",
        "| 256 | gateway, PostgreSQL",
        "missing: grpc-go",
        "in its store once",
    ] {
        assert!(printed.contains(said), "{said}: {printed}");
    }
}

#[test]
fn replicas_are_measured_beside_each_other() {
    let printed = printed_with_postgres("replicas", &SHORT);
    for said in ["| 64 | 1 gateway, SQLite", "| 256 | 3 gateways, PostgreSQL"] {
        assert!(printed.contains(said), "{said}: {printed}");
    }
}

#[test]
fn a_store_is_moved_there_and_back() {
    let printed = printed_with_postgres("moved", &["--settles", "100"]);
    assert!(printed.contains("| import into SQLite"), "{printed}");
}

#[test]
fn what_telemetry_costs_is_measured() {
    let printed = printed_by("telemetry", &SHORT);
    for said in ["| 64 | no log", "| 256 | the log, metrics read, all traces", "spans arrived"] {
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
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("watches-mtls");
    let printed = printed_by_in(&directory, "watches", &options);
    assert!(printed.contains("connections by mTLS, each with a call"), "{printed}");
}
