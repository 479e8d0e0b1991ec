//! What the Dockerfile says must be true of the program in it. `scripts/container-check` shows that
//! it builds and runs.

use std::fs;
use std::path::Path;

use crate::config::{gateway, ran};

fn file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The instructions, each as one line, without comments.
fn instructions() -> Vec<String> {
    let text = file("Dockerfile");
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let joined = lines.join("\n").replace("\\\n", " ");
    let words = joined.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    words.filter(|line| !line.is_empty()).collect()
}

/// What follows a word at the beginning of an instruction, for each that has it.
fn all(word: &str) -> Vec<String> {
    let prefix = format!("{word} ");
    let found = instructions().into_iter();
    found.filter_map(|line| line.strip_prefix(&prefix).map(str::to_owned)).collect()
}

fn the(word: &str) -> String {
    let mut found = all(word);
    assert_eq!(found.len(), 1, "{word}");
    found.remove(0)
}

fn words(json: &str) -> Vec<String> {
    serde_json::from_str(json).expect("it is in the exec form, which needs no shell")
}

/// The variables that the image sets, of an `ENV` in the form `NAME=value NAME=value`.
fn variables(set: &str) -> Vec<(&str, &str)> {
    set.split(' ').map(|pair| pair.split_once('=').unwrap()).collect()
}

const CONFIG: &str = "/etc/settlement-gateway/gateway.toml";

#[test]
fn the_variables_of_the_image_are_the_gateways() {
    let set = the("ENV");
    let set = variables(&set);
    let app = [
        // Without a file, as docs/configuration.md says.
        ("SETTLEMENT_CONFIG", "/dev/null"),
        ("SETTLEMENT_APPS_0_APP_ID", "tt1"),
        ("SETTLEMENT_APPS_0_CLIENT_SECRET_ENV", "SECRET"),
    ];
    let open = [&set[..], &app[..]].concat();
    let (code, _, stderr) = ran(&mut gateway(&["check-config"], &open));
    assert!(code == 64 && stderr.contains("no caller is configured"), "{stderr}");
    let hash = "0123456789abcdef".repeat(4);
    let caller = [
        ("SETTLEMENT_CALLERS_0_NAME", "shop"),
        ("SETTLEMENT_CALLERS_0_RIGHTS", "create,read"),
        ("SETTLEMENT_CALLERS_0_TOKEN_SHA256", hash.as_str()),
    ];
    let environment = [&open[..], &caller[..]].concat();
    let (code, stdout, stderr) = ran(&mut gateway(&["check-config"], &environment));
    assert_eq!(code, 0, "{stderr}");
    // Not the container's own loopback, and in the volume.
    assert!(stdout.contains("gRPC     0.0.0.0:50051\n"), "{stdout}");
    assert!(stdout.contains("store    data/settlement.db\n"), "{stdout}");
    assert_eq!(all("WORKDIR").last().unwrap(), "/", "the image's own");
    assert!(set.contains(&("SETTLEMENT_SERVER_CALLBACK_ADDR", "0.0.0.0:8080")), "{set:?}");
    assert_eq!(the("EXPOSE"), "50051 8080");
    assert_eq!(words(&the("VOLUME")), ["/data"]);
}

#[test]
fn the_image_runs_commands_that_there_are_and_no_shell() {
    let program = "/usr/local/bin/settlement-gateway";
    assert_eq!(words(&the("ENTRYPOINT")), [program]);
    let command = words(&the("CMD"));
    let arguments: Vec<&str> = command.iter().map(String::as_str).collect();
    assert_eq!(arguments, ["serve"]);
    let health = the("HEALTHCHECK");
    let health = words(health.split_once("CMD ").unwrap().1);
    assert_eq!(health, [program, "healthcheck"]);
    // Each of them looks into the file, which is not here: it says where gRPC listens, and how.
    let set = the("ENV");
    for (command, code) in [("serve", 64), ("healthcheck", 1), ("init", 64), ("settle", 1)] {
        let arguments: &[&str] = if command == "settle" { &["settle", "list"] } else { &[command] };
        let (status, _, stderr) = ran(&mut gateway(arguments, &variables(&set)));
        assert_eq!(status, code, "{command}: {stderr}");
        assert!(stderr.contains(&format!("{CONFIG}: the file cannot be read")), "{stderr}");
    }
}

#[test]
fn the_image_is_built_without_the_simulator_by_the_rust_that_the_package_names() {
    let builds: Vec<_> = all("RUN").iter().map(|run| run.matches("cargo build").count()).collect();
    assert_eq!(builds, [1, 1], "the dependencies, then the package");
    for run in all("RUN") {
        assert!(run.contains("cargo build --locked --release --no-default-features"), "{run}");
    }
    let manifest = file("Cargo.toml");
    let rust = manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap();
    let image = format!("rust:{}-bookworm AS build", rust.trim_matches('"'));
    assert_eq!(all("FROM"), [image.as_str(), "debian:bookworm-slim"]);
}

#[test]
fn the_image_says_what_it_is_made_of() {
    let label = the("LABEL");
    let told = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("licenses", env!("CARGO_PKG_LICENSE")),
        ("revision", "$REVISION"),
    ];
    for (key, value) in told {
        let told = format!("org.opencontainers.image.{key}=\"{value}\"");
        assert!(label.contains(&told), "{told}: {label}");
    }
    assert_eq!(the("ARG"), "REVISION=unknown");
    let documents = "LICENSE sbom.cdx.jso[n] /usr/share/doc/settlement-gateway/";
    assert!(all("COPY").iter().any(|copy| copy == documents), "{documents}");
    // ARG and COPY of the image, and not of the stage that builds.
    let instructions = instructions();
    let place = |start: &str| instructions.iter().position(|line| line.starts_with(start)).unwrap();
    assert!(place("FROM debian") < place("ARG ") && place("FROM debian") < place("COPY LICENSE"));
    assert!(place("ARG ") < place("LABEL "));
}

#[test]
fn the_image_runs_as_a_user_who_owns_nothing_else() {
    assert_eq!(the("USER"), "10001:10001");
    let copied = all("COPY");
    let owned: Vec<_> = copied.iter().filter(|copy| copy.contains("--chown")).collect();
    assert_eq!(owned, ["--from=build --chown=10001:10001 /data /data"]);
}

#[test]
fn what_is_copied_into_the_image_is_let_through_and_nothing_else() {
    let ignore = file(".dockerignore");
    let mut lines = ignore.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(lines.next(), Some("*"));
    let mut let_through: Vec<_> = lines.map(|line| line.trim_start_matches('!')).collect();
    let copies = all("COPY");
    let from_here = copies.iter().filter(|copy| !copy.starts_with("--from"));
    // The last word is where to. A file that need not be there is written as a pattern.
    let words = from_here.flat_map(|copy| copy.split(' ').rev().skip(1));
    let mut copied: Vec<_> = words.map(|word| word.replace("[n]", "n")).collect();
    copied.sort_unstable();
    let_through.sort_unstable();
    assert_eq!(copied, let_through);
}
