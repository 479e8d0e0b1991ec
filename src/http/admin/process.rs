//! What the operating system tells of this process.

use rustix::time::{ClockId, clock_gettime};

use crate::descriptors;
use crate::metrics::{
    DESCRIPTORS_ALLOWED, DESCRIPTORS_OPEN, PROCESS_CPU, PROCESS_MEMORY, PROCESS_THREADS,
};

/// Sets the gauges. What is not told keeps its last value.
pub(super) fn measure() {
    if let Some(used) = descriptors::used() {
        DESCRIPTORS_OPEN.set_len([], used);
    }
    if let Some(allowed) = descriptors::allowed() {
        DESCRIPTORS_ALLOWED.set([], allowed);
    }
    let used = clock_gettime(ClockId::ProcessCPUTime);
    let micros = |part: i64, each: u64| u64::try_from(part).unwrap_or_default() * each;
    PROCESS_CPU.reach([], micros(used.tv_sec, 1_000_000) + micros(used.tv_nsec, 1) / 1_000);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(kilobytes) = field(&status, "VmRSS:") {
        PROCESS_MEMORY.set([], kilobytes * 1_024);
    }
    if let Some(threads) = field(&status, "Threads:") {
        PROCESS_THREADS.set([], threads);
    }
}

fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics;

    #[test]
    fn the_operating_system_tells_all_of_it() {
        measure();
        let text = metrics::text();
        for name in [
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_threads",
            "process_open_fds",
        ] {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            let value: f64 = line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap();
            assert!(value > 0.0, "{name} {value}");
        }
    }
}
