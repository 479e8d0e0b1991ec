//! The knobs of one app.

use super::super::apps::AppDraft;
use super::super::knobs::{Example, Knob, Rule, Slot};

pub(super) const APP: &[Knob<AppDraft>] = &[
    Knob {
        key: "app_id",
        slot: Slot::App {
            of: |app| &mut app.app_id,
            bounds: "1 to 64 bytes, no control characters, each once",
            example: Example::Active("tt0123456789abcdef"),
        },
        meaning: "Required. The mini-program at Douyin. It is also the `client_key` with which \
                  tokens are fetched.",
    },
    Knob {
        key: "client_secret_env",
        slot: Slot::Optional {
            of: |app| &mut app.client_secret_env,
            rule: &Rule {
                unit: "name",
                bounds: "a variable that is set and not empty",
                check: |name| {
                    let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
                    let must = "must be the name of an environment variable";
                    if name.chars().all(letter) { Ok(()) } else { Err(must.to_owned()) }
                },
            },
            example: Example::Active("DOUYIN_CLIENT_SECRET"),
        },
        meaning: "The environment variable that holds the client secret.",
    },
    Knob {
        key: "client_secret_file",
        slot: Slot::Optional {
            of: |app| &mut app.client_secret_file,
            rule: &Rule {
                unit: "path",
                bounds: "readable, not empty, at most 4_096 bytes",
                check: |_| Ok(()),
            },
            example: Example::Inactive("/run/secrets/douyin-client-secret"),
        },
        meaning: "The file that holds the client secret, relative to the working directory. A \
                  file that others may read gets a warning.",
    },
    Knob {
        key: "requests_per_second",
        slot: Slot::Number {
            of: |app| &mut app.budget.requests_per_second,
            unit: "requests/s",
            bounds: (2, 10_000),
        },
        meaning: "Requests to Douyin per second for this app, and how many may go out at once \
                  after a pause. A quarter is kept for polling; creates go first in the rest, \
                  and what they leave is for polling and for questions of callers.",
    },
    Knob {
        key: "requests_in_flight",
        slot: Slot::Number {
            of: |app| &mut app.budget.requests_in_flight,
            unit: "requests",
            bounds: (2, 10_000),
        },
        meaning: "Requests to Douyin for this app that wait for their answer at once; shared out \
                  likewise.",
    },
];
