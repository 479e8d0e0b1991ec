//! All knobs, documented once: `docs/configuration.md` and `examples/gateway.toml` are printed from
//! these rows, and a test compares them.

mod apps;
mod callers;
mod douyin;
mod gone;
mod server;
mod settle;
mod store;

use super::apps::AppDraft;
use super::callers::CallerDraft;
use super::knobs::{Example, Knob, Section, Slot};
use super::{Config, HOUR, MINUTE, SECOND};
use apps::APP;
use callers::CALLER;
use douyin::DOUYIN;
pub(super) use gone::{GONE, Gone};
use server::SERVER;
use settle::SETTLE;
use store::STORE;

/// In the order in which they are documented.
pub(super) static SECTIONS: &[Section<Config>] = &[
    Section {
        name: "",
        intro: "Keys of no table. They stand before the first `[table]` of the file, because TOML \
                counts every key after a `[table]` to that table.",
        knobs: TOP,
    },
    Section {
        name: "server",
        intro: "Where the gateway listens, its limits, and how it stops. The supervisor's own time \
                limit (Kubernetes: `terminationGracePeriodSeconds`) should be longer than \
                `drain_delay_ms`, `stop_grace_ms` and 16 s together: the database has 10 s to \
                close, and what waits of the audit, of the spans and of the log has 2 s each. \
                Shorter is safe, but ends with a kill.",
        knobs: SERVER,
    },
    Section { name: "store", intro: "The database.", knobs: STORE },
    Section { name: "douyin", intro: "How Douyin is called.", knobs: DOUYIN },
    Section { name: "settle", intro: "How a settle is driven to its end.", knobs: SETTLE },
    Section { name: "poller", intro: "How settles that are due are taken up.", knobs: POLLER },
];

/// The keys of one `[[apps]]` block.
pub(super) static APPS: Section<AppDraft> = Section {
    name: "apps",
    intro: "One block for each mini-program, at least one. Of the two keys of a secret \
            (`client_secret_env` and `client_secret_file`) exactly one is set, if the app needs \
            it; white space around a secret is cut off. Never run a test system with production's \
            key and secret: each token that it fetches brings production's tokens closer to their \
            end.",
    knobs: APP,
};

/// The keys of one `[[callers]]` block.
pub(super) static CALLERS: Section<CallerDraft> = Section {
    name: "callers",
    intro: "One block for each service, job or person that calls. Without any, every peer that \
            reaches a gRPC address may do everything, and the gateway serves on loopback only. As \
            soon as there is one, every call needs an identity: a token of a caller, a client \
            certificate of one, or the word of a sidecar (`server.sidecar_names`). Each caller has \
            `token_sha256` or `certificate_names` or both. No token, no certificate name and no \
            `name` may be in two blocks; at most 256 blocks and 1_024 tokens. More in \
            docs/security.md.",
    knobs: CALLER,
};

/// Two durations that must fit each other.
pub(super) struct Order {
    /// Section and key of the shorter one.
    pub shorter: (&'static str, &'static str),
    pub relation: Relation,
    pub longer: (&'static str, &'static str),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    Less,
    AtMost,
}

pub(super) static ORDERS: &[Order] = &[
    Order {
        shorter: ("douyin", "connect_timeout_ms"),
        relation: Relation::AtMost,
        longer: ("douyin", "attempt_timeout_ms"),
    },
    Order {
        shorter: ("douyin", "attempt_timeout_ms"),
        relation: Relation::AtMost,
        longer: ("douyin", "call_timeout_ms"),
    },
    Order {
        shorter: ("douyin", "call_timeout_ms"),
        relation: Relation::Less,
        longer: ("settle", "lease_ms"),
    },
    Order {
        shorter: ("settle", "poll_first_ms"),
        relation: Relation::AtMost,
        longer: ("settle", "poll_cap_ms"),
    },
    Order {
        shorter: ("settle", "poll_first_ms"),
        relation: Relation::AtMost,
        longer: ("settle", "poll_watched_cap_ms"),
    },
];

/// The least value of a knob on which money hangs, where there is money.
pub(super) struct Floor {
    pub knob: (&'static str, &'static str),
    pub least_ms: u64,
    /// Why not less: sentences.
    pub why: &'static str,
}

pub(super) static FLOORS: &[Floor] = &[
    Floor {
        knob: ("douyin", "call_timeout_ms"),
        least_ms: 5 * SECOND,
        why: "The grace counts from the end of this time, so Douyin must be done with a request \
              by then; and a shorter time puts sends in doubt that Douyin was about to answer.",
    },
    Floor {
        knob: ("settle", "visibility_grace_ms"),
        least_ms: MINUTE,
        why: "Also a healthy platform may show a write some seconds late. A minute keeps such a \
              lag from being taken for proof; it is no promise that Douyin never needs longer.",
    },
    Floor {
        knob: ("settle", "exists_absent_max_ms"),
        least_ms: 10 * MINUTE,
        why: "What exists may become visible as late as the default of the grace, and a caller \
              whose settle was REJECTED before that may pay again.",
    },
    Floor {
        knob: ("settle", "lease_ms"),
        least_ms: 10 * SECOND,
        why: "A worker that stands still for some seconds (a paused machine, a slow disk) must not \
              lose a settle to another worker while its send is on the way.",
    },
];

const TOP: &[Knob<Config>] = &[
    Knob {
        key: "rehearsal",
        slot: Slot::Switch {
            get: |config| config.rehearsal,
            set: |config, rehearsal| config.rehearsal = rehearsal,
        },
        meaning: "Whether this gateway moves no real money, for tests. The keys on which money \
                  hangs may then be lower than is safe. Every start says so in a warning, and the \
                  metric `settlement_rehearsal` is 1. A sandbox is always a rehearsal.",
    },
    Knob {
        key: "default_app",
        slot: Slot::App {
            of: |config| &mut config.grpc.default_app,
            bounds: "one of `apps`",
            example: Example::Inactive("tt0123456789abcdef"),
        },
        meaning: "The app of requests that leave `app_id` empty. Without it such requests get \
                  `INVALID_REQUEST`.",
    },
];

const POLLER: &[Knob<Config>] = &[
    Knob {
        key: "turns_max",
        slot: Slot::Count {
            of: |config| &mut config.poller.turns_max,
            unit: "turns",
            bounds: (1, 10_000),
        },
        meaning: "Turns of one app in flight at once. A turn takes up one settle that is due and \
                  does what it needs next.",
    },
    Knob {
        key: "sweep_interval_ms",
        slot: Slot::Ms { of: |config| &mut config.poller.sweep_interval, bounds: (100, HOUR) },
        meaning: "The rest between two checks of the whole schedule, which find and repair \
                  settles that the poller would never take up; and between two looks through \
                  all settles that are not at their end, which find those that are stuck.",
    },
];
