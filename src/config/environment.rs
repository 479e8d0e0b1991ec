//! Reads the environment variables that set knobs. A variable with our prefix that sets none is a
//! problem, so that a misspelt one is noticed.

use std::collections::BTreeMap;

use super::knobs::{Knob, PREFIX, Raw, Section, path, variable};
use super::nearest::nearest;
use super::reading::{Block, Reading, SetBy};
use super::table::{APPS, CALLERS, GONE, SECTIONS};

/// The variable that names the configuration file, read by the command line.
pub const CONFIG_VARIABLE: &str = "SETTLEMENT_CONFIG";

/// A process's environment, with overrides and secrets. It is never printed.
#[derive(Default)]
pub struct Environment(BTreeMap<String, Value>);

/// `None`: not UTF-8.
type Value = Option<String>;

impl Environment {
    pub fn of_process() -> Self {
        let variables = std::env::vars_os();
        let known = variables
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.into_string().ok()));
        Self(known.collect())
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_deref()
    }

    /// Whether the variable's value is not UTF-8.
    pub fn is_garbled(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(Option::is_none)
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.0.insert(name.to_owned(), Some(value.to_owned()));
        self
    }

    /// The names with our prefix, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str).filter(|name| name.starts_with(PREFIX))
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Environment {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(variables: I) -> Self {
        let own = |(name, value): (&str, &str)| (name.to_owned(), Some(value.to_owned()));
        Self(variables.into_iter().map(own).collect())
    }
}

/// Reads the variables of all knobs.
pub(super) fn read(reading: &mut Reading, environment: &Environment) {
    for name in environment.names() {
        if let Some((section, knob)) = knob(name) {
            let (path, at) = (path(section, knob.key), SetBy::Variable(name.to_owned()));
            match environment.get(name) {
                Some(text) => reading.put(&knob.slot, path, at, Raw::Text(text)),
                None => reading.note(path, at, Err("is not UTF-8".to_owned())),
            }
        }
    }
    let apps = std::mem::take(&mut reading.apps);
    reading.apps = blocks(reading, environment, &APPS, apps);
    let callers = std::mem::take(&mut reading.callers);
    reading.callers = blocks(reading, environment, &CALLERS, callers);
}

/// The blocks of a kind, with what variables set in them and add to them.
fn blocks<T: Default>(
    reading: &mut Reading,
    environment: &Environment,
    section: &'static Section<T>,
    mut blocks: Vec<Block<T>>,
) -> Vec<Block<T>> {
    let named = environment.names().filter_map(|name| {
        let (index, knob) = block_knob(section, name)?;
        Some(((index, knob.key), (name, knob)))
    });
    // By number, so that each block exists before a later one is read.
    for ((index, key), (name, knob)) in named.collect::<BTreeMap<_, _>>() {
        let (at, path) =
            (SetBy::Variable(name.to_owned()), path(&format!("{}[{index}]", section.name), key));
        if index == blocks.len() {
            blocks.push(Block::new(at.clone()));
        }
        let count = blocks.len();
        let outcome = match (blocks.get_mut(index), environment.get(name)) {
            (None, _) => Err(too_far(section.name, count)),
            (Some(block), Some(text)) => knob.slot.set(&mut block.draft, Raw::Text(text)),
            (Some(_), None) => Err("is not UTF-8".to_owned()),
        };
        reading.note(path, at, outcome);
    }
    blocks
}

/// `kind` is the name of several blocks.
fn too_far(kind: &str, blocks: usize) -> String {
    let one = kind.trim_end_matches('s');
    let there = match blocks {
        0 => format!("there is no {one}"),
        1 => format!("there is 1 {one}"),
        _ => format!("there are {blocks} {kind}"),
    };
    format!("is too far: {there}, and the first one is {kind}[0]")
}

/// Reports the variables that set nothing. It comes last, because the apps name further variables
/// for their secrets.
pub(super) fn report_unknown(reading: &mut Reading, environment: &Environment) {
    for name in environment.names() {
        let of_app =
            reading.apps.iter().any(|app| app.draft.client_secret_env.as_deref() == Some(name));
        let secret = of_app || reading.config.store.password_env.as_deref() == Some(name);
        let of_block = block_knob(&APPS, name).is_some() || block_knob(&CALLERS, name).is_some();
        let known = name == CONFIG_VARIABLE || of_block || knob(name).is_some();
        if secret || known || is_service_link(name, environment.get(name).unwrap_or_default()) {
            continue;
        }
        let at = SetBy::Variable(name.to_owned());
        if let Some(gone) = GONE.iter().find(|gone| variable(gone.section, gone.key) == name) {
            reading.problem(&at, gone.told());
            continue;
        }
        let hint = meant(name).map_or(String::new(), |near| format!("; did you mean {near}?"));
        reading.problem(&at, format!("is no variable of the gateway{hint}"));
    }
}

/// The variable that was probably meant: with a typing error, or without its table's name.
fn meant(name: &str) -> Option<String> {
    let all = SECTIONS.iter().flat_map(|section| {
        section.knobs.iter().map(|knob| (knob.key, variable(section.name, knob.key)))
    });
    let all: Vec<(&str, String)> = all.collect();
    let bare = all.iter().find(|(key, _)| variable("", key) == name);
    let bare = bare.map(|(_, name)| name.as_str());
    let near = || nearest(name, all.iter().map(|(_, name)| name.as_str()));
    bare.or_else(near).map(str::to_owned)
}

fn knob(name: &str) -> Option<(&'static str, &'static Knob<super::Config>)> {
    let knobs =
        SECTIONS.iter().flat_map(|section| section.knobs.iter().map(|knob| (section.name, knob)));
    { knobs }.find(|(section, knob)| variable(section, knob.key) == name)
}

/// `SETTLEMENT_APPS_1_APP_ID`: the block's number, and the key.
fn block_knob<T>(section: &'static Section<T>, name: &str) -> Option<(usize, &'static Knob<T>)> {
    let kind = variable(section.name, "");
    let (index, key) = name.strip_prefix(&kind)?.split_once('_')?;
    let plain = index == "0" || !index.starts_with(['0', '+']);
    let index = index.parse().ok().filter(|_| plain)?;
    let knob = section.knobs.iter().find(|knob| knob.key.to_ascii_uppercase() == key)?;
    Some((index, knob))
}

/// Kubernetes puts the addresses of every service of a namespace into every container. A service
/// called `settlement-gateway` makes variables that begin like ours
/// (<https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>).
fn is_service_link(name: &str, value: &str) -> bool {
    let protocols = ["_TCP", "_UDP", "_SCTP"];
    let of_port = |tail: &str| {
        let digits = tail.trim_start_matches(|c: char| c.is_ascii_digit());
        let protocol = protocols.iter().find_map(|protocol| digits.strip_prefix(protocol));
        let whole = protocol.is_some_and(|rest| ["", "_PROTO", "_PORT", "_ADDR"].contains(&rest));
        whole && digits.len() < tail.len()
    };
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || (name.ends_with("_PORT") && value.contains("://"))
        || name
            .match_indices("_PORT_")
            .any(|(at, port)| name.get(at + port.len()..).is_some_and(of_port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubernetes_sets_for_a_service_is_told_from_a_misspelt_knob() {
        for (name, value) in [
            ("SETTLEMENT_GATEWAY_SERVICE_HOST", "10.0.0.1"),
            ("SETTLEMENT_GATEWAY_SERVICE_PORT", "50051"),
            ("SETTLEMENT_GATEWAY_SERVICE_PORT_GRPC", "50051"),
            ("SETTLEMENT_GATEWAY_PORT", "tcp://10.0.0.1:50051"),
            ("SETTLEMENT_GATEWAY_PORT_50051_TCP", "tcp://10.0.0.1:50051"),
            ("SETTLEMENT_GATEWAY_PORT_50051_TCP_PROTO", "tcp"),
            ("SETTLEMENT_GATEWAY_PORT_50051_TCP_PORT", "50051"),
            ("SETTLEMENT_GATEWAY_PORT_50051_TCP_ADDR", "10.0.0.1"),
            ("SETTLEMENT_PORT", "tcp://10.0.0.1:50051"),
        ] {
            assert!(is_service_link(name, value), "{name}");
        }
        for (name, value) in [
            ("SETTLEMENT_SERVER_PORT", "50051"),
            ("SETTLEMENT_SERVER_GRPC_ADR", "0.0.0.0:50051"),
            ("SETTLEMENT_PORT_TCP", "1"),
            ("SETTLEMENT_PORT_X_TCP", "1"),
        ] {
            assert!(!is_service_link(name, value), "{name}");
        }
    }

    #[test]
    fn no_knob_reads_like_a_variable_of_kubernetes_or_of_another_knob() {
        let mut names: Vec<String> = SECTIONS
            .iter()
            .flat_map(|section| section.knobs.iter().map(|knob| variable(section.name, knob.key)))
            .collect();
        names.extend(APPS.knobs.iter().map(|knob| variable("apps.0", knob.key)));
        names.extend(CALLERS.knobs.iter().map(|knob| variable("callers.0", knob.key)));
        for name in &names {
            assert!(!is_service_link(name, "tcp://10.0.0.1:50051"), "{name}");
        }
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
