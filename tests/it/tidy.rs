//! The house rules that no linter knows, as tests.

use std::fs;
use std::path::{Path, PathBuf};

/// Where the sources are: the gateway's, the simulator's, and the tests of both.
const DIRS: [&str; 3] = ["src", "sim/src", "tests"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(dir: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut dirs = vec![root().join(dir)];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// The floor of a top-level module. A module may use its own floor's and lower ones.
fn floor(module: &str) -> u32 {
    match module {
        "clock" | "descriptors" | "log_limit" | "settle" | "sync" | "tasks" => 0,
        "apps" | "store" | "douyin" => 1,
        "gateway" => 2,
        "grpc" | "http" => 3,
        // The contract is used by edges only.
        "proto" => 3,
        "cli" | "config" | "core" | "server" | "telemetry" => 4,
        "lib" | "main" => 4,
        other => panic!("{other} has no floor: give it one here and in lib.rs"),
    }
}

/// The module a file belongs to: `src/grpc/convert.rs` and `src/grpc.rs` are both of `grpc`.
fn module(file: &Path) -> String {
    let inside = file.strip_prefix(root().join("src")).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

#[test]
fn modules_use_only_their_own_floor_and_lower_ones() {
    let mut wrong = Vec::new();
    for file in rust_files("src") {
        let module = module(&file);
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap();
            for used in code.split("crate::").skip(1) {
                let end = used.find(|c: char| !c.is_ascii_lowercase() && c != '_');
                let used = used.split_at(end.unwrap_or(used.len())).0;
                if !used.is_empty() && floor(used) > floor(&module) {
                    wrong.push(format!("{}:{} uses {used}", file.display(), number + 1));
                }
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// Nothing below the edges knows gRPC; only the error table names its codes.
#[test]
fn nothing_below_the_edges_knows_grpc() {
    for file in rust_files("src").iter().filter(|file| floor(&module(file)) < 3) {
        let text = fs::read_to_string(file).unwrap();
        let in_table = file.components().any(|part| part.as_os_str() == "douyin");
        for line in text.lines().map(|line| line.split("//").next().unwrap()) {
            let allowed = in_table && line.contains("tonic::Code");
            let known = line.contains("tonic::") || line.contains("proto::");
            assert!(!known || allowed, "{}: {line}", file.display());
        }
    }
}

/// Of several that are ready the one that is written first is taken, and of several that wait the
/// first is woken first: else a simulated run could not be repeated.
#[test]
fn whatever_is_simulated_happens_in_a_fixed_order() {
    let sockets = ["listener", "admin", "health"];
    let of_a_socket = |file: &PathBuf| {
        let names = file.iter().map(|part| part.to_str().unwrap().trim_end_matches(".rs"));
        names.into_iter().any(|name| sockets.contains(&name))
    };
    let simulated = |file: &&PathBuf| floor(&module(file)) <= 3 && !of_a_socket(file);
    for file in rust_files("src").iter().filter(simulated) {
        let text = fs::read_to_string(file).unwrap();
        assert!(!text.contains("sync::watch"), "{}: use `bell`", file.display());
        let in_tests = file.components().any(|part| part.as_os_str() == "tests");
        for (number, line) in text.lines().enumerate() {
            let next = text.lines().nth(number + 1).unwrap_or_default();
            let chance = line.contains("select!") && next.trim() != "biased;";
            assert!(!chance || in_tests, "{}:{}: {line}", file.display(), number + 1);
        }
    }
}

#[test]
fn every_module_says_what_it_is_for() {
    for dir in DIRS {
        for file in rust_files(dir) {
            let text = fs::read_to_string(&file).unwrap();
            assert!(text.starts_with("//!"), "{} begins without //!", file.display());
        }
    }
}

#[test]
fn lines_and_files_stay_readable() {
    for dir in DIRS {
        for file in rust_files(dir) {
            let text = fs::read_to_string(&file).unwrap();
            let lines = text.lines().count();
            assert!(lines <= 600, "{} has {lines} lines", file.display());
            for (number, line) in text.lines().enumerate() {
                // A table of Chinese texts is wider in columns than in characters.
                let columns = line.chars().count();
                assert!(columns <= 100, "{}:{} has {columns}", file.display(), number + 1);
            }
        }
    }
}

#[test]
fn nothing_is_left_for_later() {
    let marks = ["todo!", "unimplemented!", "TODO", "FIXME", "XXX", "dbg!", "#[ignore"];
    for dir in DIRS {
        for file in rust_files(dir).iter().filter(|file| !file.ends_with("it/tidy.rs")) {
            let text = fs::read_to_string(file).unwrap();
            for mark in marks {
                assert!(!text.contains(mark), "{} contains {mark}", file.display());
            }
        }
    }
}

#[test]
fn no_module_is_a_drawer_for_everything() {
    let drawers = ["utils", "util", "common", "helpers", "types", "misc", "adapters", "ports"];
    for file in DIRS.into_iter().flat_map(rust_files) {
        let stem = file.file_stem().unwrap().to_str().unwrap();
        assert!(!drawers.contains(&stem), "{}", file.display());
    }
}
