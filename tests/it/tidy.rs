//! The house rules that no linter checks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Where the sources are: the gateway's, the simulator's, the tests of both, and the benches.
const DIRS: [&str; 4] = ["src", "sim/src", "tests", "benches"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn rust_files(dir: &str) -> Vec<PathBuf> {
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
        "clock" | "descriptors" | "log_limit" | "metrics" | "settle" | "sync" | "tasks"
        | "trace" => 0,
        "apps" | "callers" | "store" | "douyin" => 1,
        "gateway" => 2,
        "grpc" | "http" => 3,
        // Only edges use the contract.
        "proto" => 3,
        "cli" | "config" | "core" | "reload" | "server" | "telemetry" => 4,
        "lib" | "main" | "systemd" => 4,
        other => panic!("{other} has no floor: give it one here and in lib.rs"),
    }
}

/// The module of a file, from the top: `src/grpc/status/names.rs` is `grpc`, `status`, `names`.
fn path(file: &Path) -> Vec<String> {
    let inside = file.strip_prefix(root().join("src")).unwrap().with_extension("");
    let parts = inside.iter().map(|part| part.to_str().unwrap().to_owned());
    parts.filter(|part| part != "mod").collect()
}

/// The top-level module a file belongs to: `src/grpc/render.rs` and `src/grpc.rs` are of `grpc`.
fn module(file: &Path) -> String {
    path(file).swap_remove(0)
}

/// The code of a file, without comments and without tests in the same file.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    text.lines().map(|line| line.split("//").next().unwrap().to_owned() + "\n").collect()
}

/// What follows each `prefix` in the code: one name, or the first names of a list in braces.
fn named_after(code: &str, prefix: &str) -> Vec<String> {
    let mut names = Vec::new();
    for rest in code.split(prefix).skip(1) {
        let mut depth = 0_u32;
        let mut name = String::new();
        // A name ends at the first sign that cannot be in one. In a list the next name begins after
        // a comma.
        let mut over = false;
        for sign in rest.chars() {
            match sign {
                '{' if name.is_empty() && depth == 0 => depth = 1,
                '{' => depth += u32::from(depth > 0),
                '}' => depth = depth.saturating_sub(1),
                ',' if depth == 1 => {
                    names.push(std::mem::take(&mut name));
                    over = false;
                }
                sign if sign.is_whitespace() => over |= !name.is_empty(),
                sign if sign.is_ascii_lowercase() || sign == '_' => {
                    if !over {
                        name.push(sign);
                    }
                }
                _ => over = true,
            }
            if depth == 0 && (over || sign == '}' || sign == '{') {
                break;
            }
        }
        names.push(name);
    }
    names.retain(|name| !name.is_empty());
    names
}

#[test]
fn lists_of_imports_are_understood() {
    let code = "use crate::{clock::{Clock, at}, settle,\n    store::Error as E};\n\
                let a = crate::sync::b(x, y);";
    assert_eq!(named_after(code, "crate::"), ["clock", "settle", "store", "sync"]);
}

#[test]
fn modules_use_only_their_own_floor_and_lower_ones() {
    let mut wrong = Vec::new();
    for file in rust_files("src") {
        let module = module(&file);
        let text = fs::read_to_string(&file).unwrap();
        let lines = text.lines().map(|line| line.split("//").next().unwrap().to_owned() + "\n");
        for used in named_after(&lines.collect::<String>(), "crate::") {
            if floor(&used) > floor(&module) {
                wrong.push(format!("{} uses {used}", file.display()));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// Modules of one room that use each other in a circle can only be understood together. Those of
/// `config` read one file together; the table of Douyin's numbers has a part for each trade system,
/// which is made of what all tables have in common.
const CIRCLES: [(&str, &[&str]); 2] = [
    ("config", &["apps", "callers", "environment", "reading", "table"]),
    (
        "douyin",
        &[
            "agency",
            "codes",
            "facts",
            "family",
            "guaranteed",
            "heard",
            "industry",
            "self_operated",
            "system",
            "trade_basic",
            "wire",
        ],
    ),
];

#[test]
fn inside_a_room_modules_use_each_other_in_one_direction() {
    let mut uses: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for file in rust_files("src") {
        let path = path(&file);
        let [room, module, ..] = path.as_slice() else { continue };
        if path.iter().any(|part| part.contains("test")) {
            continue;
        }
        let code = code(&file);
        let supers = "super::".repeat(path.len() - 1);
        let mut used = named_after(&code, &supers);
        used.extend(named_after(&code, &format!("crate::{room}::")));
        let used = used.into_iter().filter(|used| used != module);
        uses.entry(room.clone()).or_default().entry(module.clone()).or_default().extend(used);
    }
    for (room, mut uses) in uses {
        // Modules that use none of the others left stand below them, and go.
        loop {
            let left: BTreeSet<String> = uses.keys().cloned().collect();
            uses.retain(|_, used| !used.is_disjoint(&left));
            // Modules that none of the others left uses stand above them, and go.
            let used: BTreeSet<String> = uses.values().flatten().cloned().collect();
            uses.retain(|module, _| used.contains(module));
            if uses.len() == left.len() {
                break;
            }
        }
        let explained = CIRCLES.iter().find(|(name, _)| *name == room).map(|(_, circle)| *circle);
        let left: Vec<&str> = uses.keys().map(String::as_str).collect();
        assert_eq!(left, explained.unwrap_or_default(), "a circle in {room}: {uses:?}");
    }
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

/// Of several ready branches the first one written is taken, and of several waiting tasks the first
/// one is woken. Otherwise a simulated run could not be repeated.
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

/// Words that stand in for an actor. The texts name it: the caller, the worker, the operator.
const STAND_INS: [&str; 5] = ["whoever", "somebody", "nobody", "everybody", "anybody"];

/// The texts that a person reads: sources, documents, the contract and the settings of tools.
fn texts() -> Vec<PathBuf> {
    const FOREIGN: [&str; 3] = ["target", ".git", ".tools"];
    let mut files = Vec::new();
    let mut dirs = vec![root().to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                if !FOREIGN.contains(&name) {
                    dirs.push(path);
                }
            } else if let Some(extension) = path.extension().and_then(|end| end.to_str())
                && ["rs", "md", "proto", "toml", "py"].contains(&extension)
            {
                files.push(path);
            }
        }
    }
    files
}

/// The pages that a maintainer or an operator reads.
fn pages() -> Vec<PathBuf> {
    let page = |file: &PathBuf| {
        let is_above = file.parent() == Some(root()) || file.parent() == Some(&root().join("docs"));
        is_above && file.extension().is_some_and(|end| end == "md")
    };
    let pages: Vec<_> = texts().into_iter().filter(page).collect();
    assert!(pages.len() > 20, "{pages:?}");
    pages
}

/// Whether a line has a space at which it can be broken: outside of code, links and parentheses.
fn is_breakable(line: &str) -> bool {
    let (mut in_code, mut depth) = (false, 0_i32);
    for sign in line.trim_start_matches(['-', ' ']).chars() {
        match sign {
            '`' => in_code = !in_code,
            '[' | '(' if !in_code => depth += 1,
            ']' | ')' if !in_code => depth -= 1,
            ' ' if !in_code && depth == 0 => return true,
            _ => {}
        }
    }
    false
}

/// Tables and blocks of code go beyond.
#[test]
fn lines_of_documents_stay_readable() {
    let mut wrong = Vec::new();
    for file in pages() {
        let (text, mut in_block) = (fs::read_to_string(&file).unwrap(), false);
        for (number, line) in (1..).zip(text.lines()) {
            in_block ^= line.trim_start().starts_with("```");
            let is_long = line.chars().count() > 100 && !line.starts_with('|');
            if is_long && !in_block && is_breakable(line) {
                wrong.push(format!("{}:{number}", file.display()));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new(), "longer than 100 columns");
}

/// What a document names of the repository is there, and so is each test that its tables name.
#[test]
fn what_a_document_names_exists() {
    const ROOMS: [&str; 9] =
        ["src", "sim", "tests", "scripts", "deploy", "docs", "proto", "examples", "migrations"];
    for file in pages() {
        let text = fs::read_to_string(&file).unwrap();
        for named in text.split('`').skip(1).step_by(2) {
            let is_path = named.split_once('/').is_some_and(|(room, _)| ROOMS.contains(&room))
                && named.chars().all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c));
            assert!(!is_path || root().join(named).exists(), "{}: {named}", file.display());
        }
    }
}

/// Each cell of the table of trade systems names a test, a file of tests, or a reason.
#[test]
fn the_tests_that_show_each_case_of_each_trade_system_exist() {
    let page = fs::read_to_string(root().join("docs/douyin.md")).unwrap();
    let (_, table) = page.split_once("## Which test shows what, for each trade system").unwrap();
    let reasons = fs::read_to_string(root().join("docs/ERRORS.md")).unwrap();
    let read = |modules: &str| {
        let place = root().join("tests/it").join(modules.replace("::", "/"));
        let files = [place.with_extension("rs"), place.join("mod.rs")];
        files.iter().find_map(|file| fs::read_to_string(file).ok())
    };
    let mut tests = 0;
    for named in table
        .lines()
        .filter(|line| line.starts_with("| "))
        .flat_map(|row| row.split('`').skip(1).step_by(2))
    {
        let (modules, name) = named.rsplit_once("::").unwrap_or(("trade_systems", named));
        let is_test = read(modules).is_some_and(|code| code.contains(&format!("fn {name}(")));
        tests += u32::from(is_test);
        let is_reason = reasons.contains(&format!("\n### {named}\n"));
        let is_file = read(named).is_some() || root().join(named).is_dir();
        assert!(is_test || is_reason || is_file, "docs/douyin.md names {named}");
    }
    assert!(tests > 20, "{tests}");
}

#[test]
fn every_actor_has_a_name() {
    let mut wrong = Vec::new();
    for file in texts().iter().filter(|file| !file.ends_with("it/tidy.rs")) {
        let text = fs::read_to_string(file).unwrap();
        for (number, line) in text.lines().enumerate() {
            let line = line.to_lowercase();
            let mut words = line.split(|sign: char| !sign.is_alphabetic());
            if words.any(|word| STAND_INS.contains(&word.trim_end_matches('s'))) {
                wrong.push(format!("{}:{}", file.display(), number + 1));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new(), "name the actor");
}
