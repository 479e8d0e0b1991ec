//! Documents that the code prints.

use std::fs;
use std::path::Path;

/// Compares a part of a document with what the code prints. With REWRITE set, writes it.
pub fn assert_printed(document: &str, begin: &str, end: &str, printed: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(begin).expect("the document has the mark of its begin");
    let (found, after) = match end {
        "" => (rest, ""),
        end => rest.split_once(end).expect("the document has the mark of its end"),
    };
    if found == printed {
        return;
    }
    let differing = found.lines().zip(printed.lines()).find(|(found, printed)| found != printed);
    let (old, new) = differing.unwrap_or(("one of them", "is longer"));
    assert!(
        std::env::var_os("REWRITE").is_some(),
        "{document} is not what the code says:\n{old}\n{new}\n\
         To write it: REWRITE=1 cargo test --test it"
    );
    fs::write(path, [before, begin, printed, end, after].concat()).unwrap();
}
