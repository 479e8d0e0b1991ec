//! What the machine reports: cores, processor time of processes, flushes of the disk.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Failure;

/// The unit of the times in `/proc`, the same on every Linux.
const TICK: Duration = Duration::from_millis(10);
/// A server returns memory that it has freed to the operating system within this time.
pub const SETTLED: Duration = Duration::from_secs(11);
const FLUSHES: usize = 64;
const APPEND_BYTES: usize = 4096;

/// Which cores the server has, and which the load and the upstream have.
#[derive(Clone, Debug)]
pub struct Cores {
    pub count: usize,
    pub server: String,
    pub load: String,
    /// Threads that make load.
    pub load_threads: usize,
}

impl Cores {
    /// `server` cores for the server, the others for the load; on a single core they share it.
    pub fn split(server: usize) -> Result<Self, Failure> {
        let count = std::thread::available_parallelism()?.get();
        let last = count - 1;
        let (server, load) = if count == 1 {
            ("0".to_owned(), "0".to_owned())
        } else if server >= count {
            (format!("0-{last}"), format!("0-{last}"))
        } else {
            (format!("0-{}", server - 1), format!("{server}-{last}"))
        };
        Ok(Self { count, server, load, load_threads: (last / 2).max(1) })
    }

    pub fn describe(&self) -> String {
        format!(
            "{} cores: the server on {}, load and upstream on {}",
            self.count, self.server, self.load
        )
    }
}

/// The processor time that all threads of a process have used.
pub fn cpu_of(pid: u32) -> Result<Duration, Failure> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').ok_or("/proc/PID/stat has no name")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    Ok(ticks(fields[11])? + ticks(fields[12])?)
}

/// The processor time of a process, of its children, and of those of them that have ended.
pub fn cpu_of_family(pid: u32) -> Result<Duration, Failure> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').ok_or("/proc/PID/stat has no name")?;
    // utime stime cutime cstime
    let own = fields.split_whitespace().skip(11).take(4);
    let mut sum = own.map(ticks).sum::<Result<Duration, Failure>>()?;
    for child in fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?.split_whitespace()
    {
        // It may have ended just now. Then its parent has its time from the next look on.
        sum += cpu_of(child.parse()?).unwrap_or_default();
    }
    Ok(sum)
}

/// The processor time that all processes have used, and what the host took away (steal). Interrupts
/// are left out, because those of the loopback come from the bench itself.
pub fn cpu_of_all() -> Result<Duration, Failure> {
    let stat = fs::read_to_string("/proc/stat")?;
    let fields: Vec<&str> = stat.lines().next().unwrap_or("").split_whitespace().collect();
    // cpu user nice system idle iowait irq softirq steal
    Ok(ticks(fields[1])? + ticks(fields[2])? + ticks(fields[3])? + ticks(fields[8])?)
}

fn ticks(text: &str) -> Result<Duration, Failure> {
    Ok(TICK * text.parse::<u32>()?)
}

/// Bytes of a process in memory.
pub fn resident_of(pid: u32) -> Result<u64, Failure> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).ok_or("no VmRSS")?;
    Ok(kib.parse::<u64>()? * 1024)
}

/// How long the disk takes to flush 4 KiB appended to a file, for several flushes.
pub fn flushes(directory: &Path) -> Result<Vec<f64>, Failure> {
    let path = directory.join("flush");
    let mut file = File::create(&path)?;
    let mut micros = Vec::new();
    for _ in 0..FLUSHES {
        file.write_all(&[7; APPEND_BYTES])?;
        let began = Instant::now();
        file.sync_data()?;
        micros.push(began.elapsed().as_secs_f64() * 1e6);
    }
    fs::remove_file(path)?;
    Ok(micros)
}

pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => sorted[count / 2],
        count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
    }
}
