//! What one create costs the store's one writer: an insert and a swap, in batches on the disk.

use std::fs;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::batches::Batches;
use crate::judged::{Judged, at_most};
use crate::servers::Programs;

const SIZES: [usize; 4] = [1, 8, 32, 64];
const MEASURED: Duration = Duration::from_secs(3);
/// Creates that are prepared before they are written.
const READY: usize = 2_048;

pub fn run(programs: &Programs) -> Result<(), Failure> {
    println!("| batch | CPU µs per create | µs per create |\n| ---: | ---: | ---: |");
    let mut judged = Vec::new();
    for size in SIZES {
        let directory = programs.directory.join("writes");
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        fs::create_dir_all(&directory)?;
        let mut batches = Batches::open(&directory.join("settlement.db"));
        let (mut cpu, mut wall, mut count) = (Duration::ZERO, Duration::ZERO, 0_u32);
        while wall < MEASURED {
            let mut creates = batches.creates(READY);
            let (cpu_before, began) = (cpu_of_this_thread()?, Instant::now());
            while !creates.is_empty() {
                let rest = creates.split_off(creates.len().min(size));
                batches.write(creates);
                creates = rest;
            }
            wall += began.elapsed();
            cpu += cpu_of_this_thread()? - cpu_before;
            count += u32::try_from(READY)?;
        }
        let per_create = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(count);
        println!("| {size} | {:.1} | {:.1} |", per_create(cpu), per_create(wall));
        if size == 64 {
            let what = "CPU µs for both writes of a create, in batches of 64";
            judged.push(at_most(what, 25.0, per_create(cpu), 1));
        }
    }
    Judged::print(&judged);
    Ok(())
}

fn cpu_of_this_thread() -> Result<Duration, Failure> {
    let stat = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = stat.split_whitespace().next().ok_or("schedstat is empty")?;
    Ok(Duration::from_nanos(nanos.parse()?))
}
