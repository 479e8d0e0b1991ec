//! Prints the table of knobs: as the reference in `docs/configuration.md`, as
//! `examples/gateway.toml`, and what a configuration sets, for `check-config`.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use super::Config;
use super::apps::AppDraft;
use super::callers::CallerDraft;
use super::knobs::{Example, Knob, Section, Slot, grouped, path};
use super::reading::{Block, Reading, SetBy};
use super::table::{APPS, CALLERS, FLOORS, GONE, ORDERS, Relation, SECTIONS};

/// Every knob as Markdown.
pub fn markdown() -> String {
    let mut page = String::new();
    let mut config = Config::default();
    for section in SECTIONS {
        markdown_section(&mut page, section, &heading(section.name), &mut config);
    }
    markdown_section(&mut page, &APPS, "`[[apps]]`", &mut AppDraft::default());
    markdown_section(&mut page, &CALLERS, "`[[callers]]`", &mut CallerDraft::default());
    markdown_gone(&mut page);
    page
}

fn heading(section: &str) -> String {
    if section.is_empty() { "Top level".to_owned() } else { format!("`[{section}]`") }
}

fn markdown_section<T>(page: &mut String, section: &Section<T>, heading: &str, defaults: &mut T) {
    let intro = wrapped(section.intro, "", 100);
    *page += &format!("### {heading}\n\n{intro}\n");
    *page += "| key | unit | default | bounds | meaning |\n";
    *page += "| --- | --- | --- | --- | --- |\n";
    for Knob { key, slot, meaning } in section.knobs {
        let default = slot.written(defaults);
        let default = default.map_or("–".to_owned(), |default| format!("`{default}`"));
        let bounds = bounds(section.name, key, slot);
        let bounds = if bounds.is_empty() { "–" } else { &bounds };
        let unit = slot.unit();
        let meaning = with_floor(section.name, key, meaning);
        *page += &format!("| `{key}` | {unit} | {default} | {bounds} | {meaning} |\n");
    }
    page.push('\n');
}

fn markdown_gone(page: &mut String) {
    let intro = "These were keys in earlier versions. Each has one value now, for every gateway, \
                 and a file or a variable that still sets it is refused.";
    *page += &format!("### Keys that are gone\n\n{}\n", wrapped(intro, "", 100));
    *page += "| key | its value now | meaning |\n| --- | --- | --- |\n";
    for gone in GONE {
        let path = path(gone.section, gone.key);
        *page += &format!("| `{path}` | `{}` | {} |\n", gone.now(), gone.meaning);
    }
    page.push('\n');
}

/// All knobs as a file. Each is at its default, in a comment.
pub fn toml() -> String {
    let mut file = FILE_HEAD.to_owned();
    let mut config = Config::default();
    for section in SECTIONS {
        file.push('\n');
        if !section.name.is_empty() {
            let _ = writeln!(file, "[{}]", section.name);
        }
        file += &wrapped(section.intro, "# ", 100);
        toml_section(&mut file, section, &mut config);
    }
    file += "\n[[apps]]\n";
    file += &wrapped(APPS.intro, "# ", 100);
    toml_section(&mut file, &APPS, &mut AppDraft::default());
    file += "\n#[[callers]]\n";
    file += &wrapped(CALLERS.intro, "# ", 100);
    toml_section(&mut file, &CALLERS, &mut CallerDraft::default());
    file
}

const FILE_HEAD: &str = "\
# The configuration of the settlement gateway, complete: every key there is. A key behind # shows
# its default, or an example of a value if it has none.
#
#   settlement-gateway check-config --config gateway.toml
#   settlement-gateway serve --config gateway.toml
#
# Only [[apps]] is required. A key that ends in _ms is a whole number of milliseconds. Any key can
# be set by a variable instead, which beats the file: SETTLEMENT_SERVER_GRPC_ADDR is grpc_addr of
# [server], SETTLEMENT_APPS_0_APP_ID is app_id of the first [[apps]]. Secrets are never in here.
#
# Printed by `settlement-gateway check-config --print-knobs toml`. More in docs/configuration.md.
";

fn toml_section<T>(file: &mut String, section: &Section<T>, defaults: &mut T) {
    for Knob { key, slot, meaning } in section.knobs {
        let bounds = bounds(section.name, key, slot);
        let unit = slot.unit();
        let meaning = with_floor(section.name, key, meaning);
        let about = match bounds.as_str() {
            "" => format!("{meaning} ({unit})"),
            bounds => format!("{meaning} ({unit}: {bounds})"),
        };
        file.push('\n');
        *file += &wrapped(&about, "# ", 100);
        *file += &match (slot.written(defaults), slot.example()) {
            (Some(default), _) => format!("#{key} = {default}\n"),
            (None, Some(Example::Active(value))) => format!("{key} = {value:?}\n"),
            (None, Some(Example::Inactive(value))) => format!("#{key} = {value:?}\n"),
            (None, Some(Example::Several(values))) => format!("#{key} = {values:?}\n"),
            (None, None) => String::new(),
        };
    }
}

/// What a knob does, and why it has its floor.
fn with_floor(section: &str, key: &str, meaning: &str) -> String {
    let floor = FLOORS.iter().find(|floor| floor.knob == (section, key));
    floor.map_or(meaning.to_owned(), |floor| {
        format!("{meaning} The reason of the floor: {}", floor.why)
    })
}

/// The bounds of a knob and what it must fit, in words.
fn bounds<T>(section: &str, key: &str, slot: &Slot<T>) -> String {
    let mut all = vec![slot.bounds()];
    if let Some(floor) = FLOORS.iter().find(|floor| floor.knob == (section, key)) {
        let least = grouped(&floor.least_ms.to_string());
        all.push(format!("at least {least} unless `rehearsal`"));
    }
    for order in ORDERS {
        let name = |(of, key): (&str, &str)| {
            if of == section { format!("`{key}`") } else { format!("`{}`", path(of, key)) }
        };
        if order.shorter == (section, key) {
            let must = match order.relation {
                Relation::Less => "less than",
                Relation::AtMost => "at most",
            };
            all.push(format!("{must} {}", name(order.longer)));
        }
        if order.longer == (section, key) {
            let must = match order.relation {
                Relation::Less => "more than",
                Relation::AtMost => "at least",
            };
            all.push(format!("{must} {}", name(order.shorter)));
        }
    }
    all.retain(|each| !each.is_empty());
    all.join(", ")
}

/// Every file that is named and read.
pub(super) fn files(reading: &mut Reading) -> BTreeSet<PathBuf> {
    let mut all = BTreeSet::new();
    for knob in SECTIONS.iter().flat_map(|section| section.knobs) {
        all.extend(knob.slot.file(&mut reading.config).map(PathBuf::from));
    }
    for app in &mut reading.apps {
        all.extend(
            APPS.knobs.iter().filter_map(|knob| knob.slot.file(&mut app.draft).map(PathBuf::from)),
        );
    }
    all
}

/// The keys of all knobs: `apps.app_id`.
#[cfg(test)]
pub(crate) fn keys() -> Vec<String> {
    let all = SECTIONS.iter().flat_map(|section| keys_in(section, |_| true));
    all.chain(keys_in(&APPS, |_| true)).chain(keys_in(&CALLERS, |_| true)).collect()
}

/// Those that name a file that is read.
#[cfg(test)]
pub(crate) fn keys_of_files() -> Vec<String> {
    let all = SECTIONS.iter().flat_map(|section| keys_in(section, |s| s.names_file().is_some()));
    let of_callers = keys_in(&CALLERS, |slot| slot.names_file().is_some());
    assert_eq!(of_callers, Vec::<String>::new(), "`files` does not look at callers");
    all.chain(keys_in(&APPS, |slot| slot.names_file().is_some())).collect()
}

#[cfg(test)]
fn keys_in<T>(section: &Section<T>, is: fn(&Slot<T>) -> bool) -> Vec<String> {
    let knobs = section.knobs.iter().filter(|knob| is(&knob.slot));
    knobs.map(|knob| path(section.name, knob.key)).collect()
}

/// What was set, and where. Keys of secrets show where the secret is kept, not what it is.
pub(super) fn set(reading: &mut Reading) -> Vec<(String, String, SetBy)> {
    let mut all = Vec::new();
    for section in SECTIONS {
        for knob in section.knobs {
            let path = path(section.name, knob.key);
            let value = knob.slot.written(&mut reading.config);
            all.extend(reading.set.get(&path).cloned().zip(value).map(|(at, v)| (path, v, at)));
        }
    }
    all.extend(set_in_blocks(&reading.set, &APPS, &mut reading.apps));
    all.extend(set_in_blocks(&reading.set, &CALLERS, &mut reading.callers));
    all
}

fn set_in_blocks<T>(
    set: &BTreeMap<String, SetBy>,
    section: &Section<T>,
    blocks: &mut [Block<T>],
) -> Vec<(String, String, SetBy)> {
    let mut all = Vec::new();
    for (i, block) in blocks.iter_mut().enumerate() {
        for knob in section.knobs {
            let path = path(&format!("{}[{i}]", section.name), knob.key);
            let value = knob.slot.written(&mut block.draft);
            all.extend(set.get(&path).cloned().zip(value).map(|(at, v)| (path, v, at)));
        }
    }
    all
}

/// Words in lines of at most this many characters, each line after a prefix.
fn wrapped(text: &str, prefix: &str, columns: usize) -> String {
    let (mut lines, mut line) = (String::new(), prefix.to_owned());
    for word in text.split_whitespace() {
        let long = line.chars().count() + 1 + word.chars().count() > columns;
        if long && line.len() > prefix.len() {
            lines += line.trim_end();
            lines.push('\n');
            line = prefix.to_owned();
        }
        if line.len() > prefix.len() {
            line.push(' ');
        }
        line += word;
    }
    lines + line.trim_end() + "\n"
}
