//! What must hold for any bytes from outside. One function per target: it panics if something does
//! not hold. libFuzzer calls the same functions (`fuzz/`), so they must need nothing but bytes.

mod answers;
mod callbacks;
mod configurations;
mod page_tokens;
mod requests;
#[expect(dead_code, reason = "it serves the tests of the errors, which look at more")]
#[path = "../../it/told.rs"]
mod told;
mod world;

/// One kind of bytes from outside.
pub struct Target {
    /// Also of its corpus and of its binary for libFuzzer.
    pub name: &'static str,
    /// The longest input: what the gateway lets in, where that is not too much to try.
    pub bytes_max: usize,
    holds: fn(&[u8]),
}

impl Target {
    /// Panics if something does not hold.
    pub fn hold(&self, data: &[u8]) {
        if data.len() <= self.bytes_max {
            (self.holds)(data);
        }
    }
}

pub const TARGETS: &[Target] = &[
    Target { name: "answers", bytes_max: 64 * 1024, holds: answers::hold },
    Target { name: "callbacks", bytes_max: 64 * 1024, holds: callbacks::hold },
    Target { name: "configurations", bytes_max: 64 * 1024, holds: configurations::hold },
    Target { name: "page_tokens", bytes_max: 1024, holds: page_tokens::hold },
    Target { name: "requests", bytes_max: 64 * 1024, holds: requests::hold },
];

/// The corpus of a target, in the order of the files' names.
#[cfg(test)]
pub fn corpus(name: &str) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = std::fs::read_dir(root.join("tests/fuzz/corpus").join(name));
    let files = files.expect("each target has a corpus");
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

/// A target by its name.
pub fn target(name: &str) -> &'static Target {
    let found = TARGETS.iter().find(|target| target.name == name);
    found.unwrap_or_else(|| panic!("there is no target {name}"))
}
