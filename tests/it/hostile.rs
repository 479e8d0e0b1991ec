//! Everything around the gateway turns hostile, one kind after the other, while honest callers go
//! on: peers that send nothing, read nothing or send all at once, files that disappear, signals.
//! Each kind is a thread beside the real process. The callers count what they see.
//!
//! ```text
//! HOSTILE_SECONDS=120 HOSTILE=silent-peers,signals scripts/soak hostile
//! ```
//!
//! At any length: no call of an honest caller fails without details, no caller is told anything
//! that is not so in Douyin's books, every settle comes to its end, and all that was told is there
//! after a stop and a start. From a minute on also: calls take at most twice as long as without the
//! kind, and the memory afterwards is that of a process that ran undisturbed for the same time.

mod callers;
mod disk;
mod files;
mod floods;
mod frames;
mod kinds;
mod logs;
mod peers;
mod processes;
mod stage;
mod table;

use std::time::{Duration, Instant};

use tokio::runtime;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use callers::Crowd;
use kinds::{KINDS, Kind, NOTHING};
use stage::{Stage, Surroundings};
use table::{Heard, Memory, Row};

/// Kinds that are played at the same time where nothing is measured; other tests go on beside them.
const AT_ONCE: usize = 2;
/// From here on latency and memory count, and kinds are played one after the other.
const MEASURED: Duration = Duration::from_secs(60);
/// How often the memory is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// How long the callers are alone, beside the hostile kind, and alone again.
#[derive(Clone, Copy)]
struct Times {
    quiet: Duration,
    under: Duration,
    after: Duration,
}

impl Times {
    fn of(under: Duration) -> Self {
        Self { quiet: under / 4, under, after: under / 2 }
    }

    fn measured(&self) -> bool {
        self.under >= MEASURED
    }
}

fn chosen(measured: bool) -> Vec<&'static Kind> {
    let names = std::env::var("HOSTILE").unwrap_or_default();
    let names: Vec<_> = names.split([',', ' ']).filter(|name| !name.is_empty()).collect();
    for name in &names {
        let known = KINDS.iter().any(|kind| kind.name == *name);
        let all: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
        assert!(known, "there is no kind {name}; there are: {}", all.join(", "));
    }
    let chosen = |kind: &&Kind| match names.is_empty() {
        _ if kind.name == NOTHING => measured,
        true => measured || !kind.on_request,
        false => names.contains(&kind.name),
    };
    KINDS.iter().filter(chosen).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_around_it_callers_are_answered_truly_and_every_settle_ends() {
    let seconds = std::env::var("HOSTILE_SECONDS").ok().filter(|text| !text.is_empty());
    let seconds = seconds.map_or(2.0, |text| text.parse().expect("a number of seconds"));
    let times = Times::of(Duration::from_secs_f64(seconds));
    let at_once = if times.measured() { 1 } else { AT_ONCE };
    let (mut rows, mut playing) = (Vec::new(), JoinSet::new());
    for kind in chosen(times.measured()) {
        if playing.len() == at_once {
            rows.extend(playing.join_next().await.map(|row: Result<Row, _>| row.unwrap()));
        }
        playing.spawn(play(kind, times));
    }
    rows.extend(playing.join_all().await);
    rows.sort_by_key(|row| KINDS.iter().position(|kind| kind.name == row.kind));
    println!("{}", table::print(&rows));
    let measured = rows.iter().find(|row| row.kind == NOTHING).map(|row| row.memory.after);
    let wrong: Vec<_> = rows.iter().flat_map(|row| row.wrong(measured)).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// On one thread of its own: neither callers nor Douyin wait for its tasks, and it takes at most
/// one of the machine's cores from the process. What it has opened is closed when it is over.
fn apart(kind: &'static Kind, around: Surroundings, over: CancellationToken) -> JoinHandle<()> {
    tokio::task::spawn_blocking(move || {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on((kind.play)(around, over));
    })
}

async fn play(kind: &'static Kind, times: Times) -> Row {
    let stage = Stage::set(kind).await;
    let mut crowd = Crowd::gather(&stage);
    let began = stage.worked();
    let quiet = crowd.listen(times.quiet, |_| true, || ()).await;
    let worked = stage.worked();
    let mut memory = Memory { quiet: stage.memory_kib(), peak: 0, after: 0 };
    let over = CancellationToken::new();
    let hostile = apart(kind, stage.surroundings(), over.clone());
    let mut peak = memory.quiet;
    // A kind under which nothing can be served shows that by its time alone.
    let is_enough: fn(&Heard) -> bool = if kind.serves { Heard::is_served } else { |_| true };
    let look = || peak = peak.max(stage.memory_kib());
    let began_under = Instant::now();
    let under = crowd.listen(times.under, is_enough, look).await;
    memory.peak = peak;
    let cores = [
        (worked - began).div_duration_f64(times.quiet),
        stage.worked().saturating_sub(worked).div_duration_f64(began_under.elapsed()),
    ];
    over.cancel();
    hostile.await.unwrap_or_else(|error| panic!("{}: {error}", kind.name));
    let after = crowd.listen(times.after, Heard::is_served, || ()).await;
    memory.after = stage.memory_kib();
    let (unfinished, mut lies, told) = crowd.disperse(&stage).await;
    let ended = if stage.lives() {
        match stage.restart().await {
            Ok(stage) => {
                lies.extend(callers::forgotten(&stage, told).await);
                stage.clear().await;
                None
            }
            Err(ended) => Some(ended),
        }
    } else {
        Some(stage.ended().await)
    };
    let (kind, serves) = (kind.name, kind.serves);
    Row { kind, serves, quiet, under, after, memory, cores, unfinished, lies, ended }
}
