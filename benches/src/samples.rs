//! Where the processor time of a server goes: samples of its stacks, taken by `perf` (Debian's
//! linux-perf).

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Failure;

/// Fewer tell nothing.
const SAMPLES_MIN: usize = 2_000;

/// Each is the symbols of one sample.
pub struct Stacks(Vec<Vec<String>>);

/// Takes samples of a process while there is load.
pub fn of(
    pid: u32,
    file: &Path,
    load: impl FnOnce() -> Result<(), Failure>,
) -> Result<Stacks, Failure> {
    let mut perf = Command::new("perf");
    perf.args(["record", "--freq", "999", "--call-graph", "dwarf,16384", "--pid"]);
    perf.arg(pid.to_string()).arg("--output").arg(file);
    let quiet = perf.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut recording = quiet.spawn().map_err(|error| format!("perf: {error}"))?;
    let loaded = load();
    Command::new("kill").args(["-INT", &recording.id().to_string()]).status()?;
    recording.wait()?;
    loaded?;
    let mut perf = Command::new("perf");
    perf.args(["script", "--no-inline", "--fields", "ip,sym", "--input"]).arg(file);
    let read = perf.stdin(Stdio::null()).stderr(Stdio::null()).output()?;
    fs::remove_file(file)?;
    let stacks = Stacks::parse(&String::from_utf8_lossy(&read.stdout));
    match stacks.count() {
        SAMPLES_MIN.. => Ok(stacks),
        few => Err(format!("perf took only {few} samples").into()),
    }
}

impl Stacks {
    /// A line is an address and a symbol. An empty one ends a stack.
    fn parse(text: &str) -> Self {
        let stack = |lines: &str| {
            let symbols = lines.lines().filter_map(|line| line.trim().split_once(' '));
            Vec::from_iter(symbols.map(|(_, symbol)| symbol.to_owned()))
        };
        let stacks = text.split("\n\n").map(stack);
        Self(stacks.filter(|stack| !stack.is_empty()).collect())
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The part of the samples that were taken within a function of such a path, of one that such a
    /// type or trait has, or of one that it called.
    pub fn share(&self, paths: &[&str]) -> f64 {
        let is_of = |symbol: &String| {
            let symbol = symbol.trim_start_matches('<');
            let (own, of_trait) = symbol.split_once(" as ").unwrap_or((symbol, ""));
            paths.iter().any(|path| own.starts_with(path) || of_trait.starts_with(path))
        };
        let within = self.0.iter().filter(|stack| stack.iter().any(is_of)).count();
        within as f64 / self.count() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_counts_where_any_of_its_functions_belongs() {
        let stacks = Stacks::parse(
            "\n   1a memcpy\n   2b <told::Lines<W> as other::Layer<S>>::on_event\n   3c main\n\n\
             4d memcpy\n   3c main\n\n\
             5e <core::Option<T> as told::Tell>::tell\n\n\
             6f drop_in_place<told::Lines>\n\n\n",
        );
        assert_eq!(stacks.count(), 4);
        assert_eq!((stacks.share(&["told::"]), stacks.share(&["main"])), (0.5, 0.5));
    }
}
