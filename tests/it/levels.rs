//! ERROR wants a person, and WARN is worth a look: the runbook says what to do about each line of
//! these levels.

use std::fs;
use std::path::Path;

/// The texts of what is logged at these levels in a source.
fn messages(source: &str) -> Vec<String> {
    let told = |beginning: &'static str| source.split(beginning).skip(1);
    let limited = told("limited!(").filter(|arguments| is_loud(arguments));
    told("error!(").chain(told("warn!(")).chain(limited).filter_map(last_text).collect()
}

/// Whether the second argument of `limited!` is one of these levels. The first says whose line it
/// is, and has no comma.
fn is_loud(arguments: &str) -> bool {
    let level = arguments.split(',').nth(1).unwrap_or_default().trim();
    assert!(["ERROR", "WARN", "INFO", "DEBUG"].contains(&level), "{level}: {arguments:.200}");
    ["ERROR", "WARN"].contains(&level)
}

#[test]
fn every_form_of_a_line_is_read() {
    for (source, message) in [
        (r#"error!(%key, "one, two");"#, Some("one, two")),
        (r#"limited!(Stranger of network, WARN, { from = network }, "x");"#, Some("x")),
        ("limited!(\n    Peer,\n    ERROR,\n    \"x\"\n)", Some("x")),
        (r#"limited!(Peer of causer, INFO, { took_ms }, "x");"#, None),
    ] {
        assert_eq!(messages(source), Vec::from_iter(message), "{source}");
    }
}

/// The last text among the arguments of a macro; `None`: it has none.
fn last_text(arguments: &str) -> Option<String> {
    let (mut depth, mut text, mut last) = (1_u32, None::<String>, None);
    let mut signs = arguments.chars();
    while let Some(sign) = signs.next() {
        match (&mut text, sign) {
            // A text that goes on in the next line goes on after its blanks.
            (Some(text), '\\') => match signs.next() {
                Some('\n') => signs = signs.as_str().trim_start().chars(),
                Some(sign) => text.push(sign),
                None => {}
            },
            (Some(_), '"') => last = text.take(),
            (Some(text), sign) => text.push(sign),
            (None, '"') => text = Some(String::new()),
            (None, '(') => depth += 1,
            (None, ')') => depth -= 1,
            (None, _) => {}
        }
        if depth == 0 {
            break;
        }
    }
    last
}

fn sources(folder: &Path, texts: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.contains("tests") {
            continue;
        }
        if path.is_dir() {
            sources(&path, texts);
        } else {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
            texts.push((path.display().to_string(), code));
        }
    }
}

#[test]
fn the_runbook_knows_every_line_that_wants_a_person_or_is_worth_a_look() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let runbook = fs::read_to_string(root.join("docs/runbook.md")).unwrap();
    let runbook = runbook.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut texts = Vec::new();
    sources(&root.join("src"), &mut texts);
    let (mut found, mut missing) = (0, Vec::new());
    for (path, text) in texts {
        // Sentences of the configuration, which say themselves what to do.
        let told = messages(&text).into_iter().filter(|text| !text.starts_with('{'));
        for message in told {
            found += 1;
            if !runbook.contains(&message) {
                missing.push(format!("{path}: {message}"));
            }
        }
    }
    assert!(found > 60, "only {found} were found");
    assert_eq!(missing, Vec::<String>::new());
}
