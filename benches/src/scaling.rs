//! What more cores bring: the bare translator and the gateway on one core and on more.

use crate::Failure;
use crate::machine::Cores;
use crate::rounds::{self, Extent, Row};
use crate::servers::Programs;
use crate::upstream::Upstream;

const CALLERS: [usize; 2] = [64, 256];
const TAGS: [[&str; 2]; 4] = [["b1", "g1"], ["b2", "g2"], ["b4", "g4"], ["b8", "g8"]];

/// Each server on 1, 2, 4 and 8 cores, if the machine has them. If no core is left for the load, it
/// shares the server's cores; then only the processor time per call can be compared.
pub fn run(programs: &Programs, extent: Extent) -> Result<(), Failure> {
    let upstream = Upstream::start()?;
    let mut rows = Vec::new();
    let mut threads = 1;
    for (power, [bare, gateway]) in TAGS.into_iter().enumerate() {
        let server_cores = 1 << power;
        let cores = Cores::split(server_cores)?;
        if server_cores > cores.count {
            break;
        }
        println!("{}", cores.describe());
        threads = cores.load_threads;
        let name = |what| format!("{what}, server on {server_cores}");
        let url = upstream.url();
        rows.push(Row::of(&name("bare"), bare, programs.bare(&cores, &url)?));
        rows.push(Row::of(&name("gateway"), gateway, programs.gateway(gateway, &cores, &url)?));
    }
    rounds::play(&mut rows, &CALLERS, Extent { threads, ..extent }, programs)?;
    rounds::print(&rows, &CALLERS);
    for row in &rows {
        row.verify(&upstream)?;
    }
    Ok(())
}
