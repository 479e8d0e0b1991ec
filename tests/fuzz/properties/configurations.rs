//! Configurations: a TOML file, then a line `--- environment` and variables, one a line.

use std::cell::RefCell;

use settlement_gateway::config::{Config, Environment, Flags, Loaded, Problems, Source};
use settlement_gateway::douyin::transport::base_url;

use super::world::World;

thread_local! {
    static PLACE: RefCell<Option<World>> = const { RefCell::new(None) };
}

const BORDER: &str = "\n--- environment\n";
/// Always set, so that an app can be complete.
const SECRET_VARIABLE: &str = "SETTLEMENT_FUZZED_SECRET";
const SECRET: &str = "client-secret-that-no-one-may-see";

pub fn hold(data: &[u8]) {
    let input = String::from_utf8_lossy(data);
    let (text, variables) = input.split_once(BORDER).unwrap_or((&input, ""));
    // A file of the machine is no part of the input. Reading one may even wait for a person.
    if input.contains("_file") || input.contains("_FILE") {
        return;
    }
    let load = || {
        let variables = variables.lines().filter_map(|line| line.split_once('='));
        let environment: Environment = variables.chain([(SECRET_VARIABLE, SECRET)]).collect();
        Config::load(Source::Text { name: "fuzzed.toml", text }, &environment, Flags::default())
    };
    match (load(), load()) {
        (Ok(one), Ok(other)) => {
            assert_eq!(shown(&one), shown(&other), "the same bytes, the same configuration");
            no_secret(&format!("{} {:?}", shown(&one), one.config), &input);
            built(one);
        }
        (Err(one), Err(other)) => {
            assert_eq!(one.0, other.0, "the same bytes, the same problems");
            assert!(!one.0.is_empty(), "refused for no reason");
            no_secret(&one.to_string(), &input);
            whole_lines(&one);
        }
        (one, other) => panic!("once good, once bad: {:?} {:?}", one.err(), other.err()),
    }
}

fn shown(loaded: &Loaded) -> String {
    format!("{:?} {:?}", loaded.set, loaded.warnings)
}

fn no_secret(shown: &str, input: &str) {
    assert!(input.contains(SECRET) || !shown.contains(SECRET), "{shown}");
}

/// A problem is one line, whatever is in the file: a log or a terminal shows it.
fn whole_lines(problems: &Problems) {
    for problem in &problems.0 {
        assert!(!problem.contains(char::is_control), "{problem:?}");
    }
}

/// What loads can be built.
fn built(loaded: Loaded) {
    let config = loaded.config;
    assert!(!config.apps.is_empty());
    base_url(&config.douyin.base_url).expect("it was checked");
    PLACE.with_borrow_mut(|place| {
        let world = place.get_or_insert_with(World::new);
        let core = world.built(config).expect("it was checked");
        let _ = core.service.shape();
    });
}
