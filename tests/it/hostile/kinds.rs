//! The kinds, each a task that is hostile until it is told that it is over, and then takes back
//! what can be taken back.

use std::path::Path;
use std::pin::Pin;

use tokio_util::sync::CancellationToken;

use super::stage::Surroundings;
use super::{files, floods, frames, logs, peers, processes};
use crate::process::{Outlet, Setting};

pub type Played = Pin<Box<dyn Future<Output = ()> + Send>>;

pub struct Kind {
    pub name: &'static str,
    /// How the process is started for it; the path is its folder.
    pub set: fn(&mut Setting, &Path),
    pub play: fn(Surroundings, CancellationToken) -> Played,
    /// Calls can be answered with OK meanwhile.
    pub serves: bool,
    /// On a disk of its own, which needs root.
    pub on_disk: bool,
    /// Played where it is asked for, and where all is measured: other tests play it too, or it
    /// needs what not every machine has.
    pub on_request: bool,
}

/// As it is always started.
fn plain(_: &mut Setting, _: &Path) {}

/// It says much, into a pipe that can be stopped.
fn into_a_pipe(setting: &mut Setting, _: &Path) {
    setting.log = Some("settlement_gateway=debug");
    setting.stderr = Outlet::Full;
}

/// Log and database are on one disk.
fn into_a_file(setting: &mut Setting, dir: &Path) {
    setting.log = Some("settlement_gateway=debug");
    setting.stderr = Outlet::File(dir.join("gateway.log"));
}

/// One that leaves room for calls to be served.
const fn kind(name: &'static str, play: fn(Surroundings, CancellationToken) -> Played) -> Kind {
    Kind { name, set: plain, play, serves: true, on_disk: false, on_request: false }
}

/// One under which nothing can be served.
const fn stopper(name: &'static str, play: fn(Surroundings, CancellationToken) -> Played) -> Kind {
    Kind { serves: false, ..kind(name, play) }
}

const fn on_request(kind: Kind) -> Kind {
    Kind { on_request: true, ..kind }
}

const fn on_disk(kind: Kind) -> Kind {
    Kind { on_disk: true, ..on_request(kind) }
}

/// Nothing at all: what the process takes by itself in the same time.
pub const NOTHING: &str = "nothing";

pub static KINDS: &[Kind] = &[
    on_request(kind(NOTHING, |_, over| Box::pin(over.cancelled_owned()))),
    kind("silent-peers", |around, over| Box::pin(peers::silent(around, over))),
    kind("half-open-peers", |around, over| Box::pin(peers::half_open(around, over))),
    kind("slow-writers", |around, over| Box::pin(peers::slow_writers(around, over))),
    kind("slow-readers", |around, over| Box::pin(peers::slow_readers(around, over))),
    kind("greedy-peers", |around, over| Box::pin(peers::greedy(around, over))),
    kind("forged-callbacks", |around, over| Box::pin(floods::forged_callbacks(around, over))),
    on_request(Kind {
        set: |setting, _| setting.server += "calls_max = 256\n",
        ..kind("calls-without-body", |around, over| Box::pin(floods::without_body(around, over)))
    }),
    kind("http2-floods", |around, over| Box::pin(frames::floods(around, over))),
    on_request(stopper("stopped-process", |around, over| {
        Box::pin(processes::stopped(around, over))
    })),
    on_request(kind("signals", |around, over| Box::pin(processes::signals(around, over)))),
    kind("odd-answers", |around, over| Box::pin(processes::odd_answers(around, over))),
    kind("long-reader", |around, over| Box::pin(files::long_reader(around, over))),
    on_request(stopper("database-removed", |around, over| Box::pin(files::removed(around, over)))),
    on_request(stopper("database-replaced", |around, over| {
        Box::pin(files::replaced(around, over))
    })),
    on_request(stopper("database-linked", |around, over| Box::pin(files::linked(around, over)))),
    on_request(Kind {
        set: into_a_pipe,
        ..kind("unread-log", |around, over| Box::pin(logs::unread(around, over)))
    }),
    on_request(Kind {
        set: into_a_pipe,
        ..kind("closed-log", |around, over| Box::pin(logs::closed(around, over)))
    }),
    on_disk(Kind {
        set: into_a_file,
        ..stopper("full-disk", |around, over| Box::pin(files::full_disk(around, over)))
    }),
    on_disk(stopper("frozen-disk", |around, over| Box::pin(files::frozen_disk(around, over)))),
];
