//! Any bytes from outside: callbacks, Douyin's answers, requests, page tokens, configurations. What
//! must hold for them is in `properties/`.
//!
//! Here the corpus is replayed, and some thousand inputs are made from it. That needs no tool.
//! `FUZZ_INPUTS=100000 FUZZ_SEED=7 cargo test --test fuzz` tries more and others. `fuzz/` hands the
//! same properties to libFuzzer, which looks for inputs that reach new code (`scripts/soak fuzz`);
//! what it found is in `corpus/`, a folder per target.

#![cfg(test)]

mod mutations;
mod properties;

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use fastrand::Rng;
use properties::{TARGETS, Target};

/// Inputs made for each target, unless `FUZZ_INPUTS` says otherwise.
const INPUTS: u64 = 300;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Fails with the input, in a form that can be put into the corpus.
fn check(target: &Target, input: &[u8], what: &str) {
    let held = catch_unwind(AssertUnwindSafe(|| target.hold(input)));
    assert!(held.is_ok(), "{}: {what}: \"{}\"", target.name, input.escape_ascii());
}

fn number(variable: &str, default: u64) -> u64 {
    let set = std::env::var(variable).ok();
    set.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

fn fuzz(name: &str) {
    let target = properties::target(name);
    let corpus = properties::corpus(name);
    assert!(!corpus.is_empty(), "{name} has no corpus");
    for (path, input) in &corpus {
        assert!(input.len() <= target.bytes_max, "{}", path.display());
        check(target, input, &path.to_string_lossy());
    }
    let seed = number("FUZZ_SEED", 1);
    println!("FUZZ_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let corpus: Vec<_> = corpus.into_iter().map(|(_, input)| input).collect();
    for round in 0..number("FUZZ_INPUTS", INPUTS) {
        let input = mutations::mutated(&mut rng, &corpus, target.bytes_max);
        check(target, &input, &format!("input {round} of FUZZ_SEED={seed}"));
    }
}

#[test]
fn answers_hold() {
    fuzz("answers");
}

#[test]
fn callbacks_hold() {
    fuzz("callbacks");
}

#[test]
fn configurations_hold() {
    fuzz("configurations");
}

#[test]
fn page_tokens_hold() {
    fuzz("page_tokens");
}

#[test]
fn requests_hold() {
    fuzz("requests");
}

/// The crate for libFuzzer is not built here: it needs another compiler. What the properties use of
/// other crates must be among what it needs.
#[test]
fn libfuzzer_has_every_crate_that_the_properties_use() {
    let needs = |manifest: &str| {
        let text = fs::read_to_string(root().join(manifest)).unwrap();
        let keys = text.lines().filter_map(|line| line.split_once(" = "));
        keys.map(|(key, _)| key.to_owned()).collect::<BTreeSet<_>>()
    };
    let (own, known) = (needs("fuzz/Cargo.toml"), needs("Cargo.toml"));
    let told = root().join("tests/it/told.rs");
    let files = fs::read_dir(root().join("tests/fuzz/properties")).unwrap();
    for file in files.map(|file| file.unwrap().path()).chain([told]) {
        let code = fs::read_to_string(&file).unwrap();
        let words = code.split(|c: char| !c.is_ascii_alphanumeric() && !"_:".contains(c));
        for word in words.filter_map(|word| Some(word.split_once("::")?.0.replace('_', "-"))) {
            let is_missing = known.contains(&word) && !own.contains(&word);
            assert!(!is_missing, "{} uses {word}", file.display());
        }
    }
}

/// Nor are its targets.
#[test]
fn libfuzzer_has_every_target() {
    let manifest = fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
    assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
    let soak = fs::read_to_string(root().join("scripts/soak")).unwrap();
    for Target { name, bytes_max, .. } in TARGETS {
        let file = format!("fuzz_targets/{name}.rs");
        assert!(manifest.contains(&format!("name = \"{name}\"\npath = \"{file}\"")), "{name}");
        let code = fs::read_to_string(root().join("fuzz").join(file)).unwrap();
        assert!(code.contains(&format!("target(\"{name}\")")), "{code}");
        assert!(soak.contains(&format!("[{name}]={bytes_max}")), "{name} in scripts/soak");
    }
}
