//! The knobs of the client of Douyin.

use super::super::knobs::{Knob, Rule, Slot};
use super::super::{Config, HOUR, MINUTE};
use crate::douyin::transport::base_url;

pub(super) const DOUYIN: &[Knob<Config>] = &[
    Knob {
        key: "base_url",
        slot: Slot::Text {
            of: |config| &mut config.douyin.base_url,
            rule: &Rule {
                unit: "address",
                bounds: "http(s), a host, no query, no user",
                check: |text| {
                    let must = "must be an http(s) address of a host, without query or user";
                    base_url(text).map(drop).map_err(|_| must.to_owned())
                },
            },
        },
        meaning: "Scheme and host of Douyin's open platform, perhaps with a path in front of \
                  Douyin's own ones.",
    },
    Knob {
        key: "connect_timeout_ms",
        slot: Slot::Ms { of: |config| &mut config.douyin.connect_timeout, bounds: (10, MINUTE) },
        meaning: "The time to connect, TLS included.",
    },
    Knob {
        key: "attempt_timeout_ms",
        slot: Slot::Ms { of: |config| &mut config.douyin.attempt_timeout, bounds: (10, MINUTE) },
        meaning: "The time of one HTTP request, its connecting included.",
    },
    Knob {
        key: "call_timeout_ms",
        slot: Slot::Ms { of: |config| &mut config.douyin.call_timeout, bounds: (10, 2 * MINUTE) },
        meaning: "The time of a whole call: token, request, one repeat after a token error. It is \
                  a promise too: nothing of a create is sent later than this after its permission \
                  became durable, and the visibility grace begins only after it.",
    },
    Knob {
        key: "answer_bytes_max",
        slot: Slot::Count {
            of: |config| &mut config.douyin.answer_bytes_max,
            unit: "bytes",
            bounds: (1_024, 64 * 1_024 * 1_024),
        },
        meaning: "The largest answer that is read, after decompression. A larger one leaves its \
                  call's outcome unknown.",
    },
    Knob {
        key: "idle_timeout_ms",
        slot: Slot::Ms { of: |config| &mut config.douyin.idle_timeout, bounds: (0, HOUR) },
        meaning: "How long an unused connection is kept. Shorter than usual servers keep it, \
                  because a request that meets the server's closing has an unknown outcome.",
    },
    Knob {
        key: "idle_connections_max",
        slot: Slot::Count {
            of: |config| &mut config.douyin.idle_connections_max,
            unit: "connections",
            bounds: (0, 10_000),
        },
        meaning: "The most unused connections that are kept. A connection rests for 50 ms after \
                  each answer, so that 100 requests per second need 5 of them.",
    },
    Knob {
        key: "refresh_ahead_ms",
        slot: Slot::Ms { of: |config| &mut config.douyin.refresh_ahead, bounds: (0, HOUR) },
        meaning: "How long before its end a token is replaced. Douyin keeps the token before the \
                  newest one alive for 5 min, so a value below that hurts nobody who still holds \
                  the old one.",
    },
    Knob {
        key: "refetch_gap_ms",
        slot: Slot::Ms { of: |config| &mut config.douyin.refetch_gap, bounds: (100, HOUR) },
        meaning: "The least time between two fetches of a *rejected* token. Douyin keeps only the \
                  newest two tokens of an app alive, so fetching in a hurry kills those of other \
                  systems.",
    },
    Knob {
        key: "pause_min_ms",
        slot: Slot::Ms { of: |config| &mut config.douyin.pause_min, bounds: (10, HOUR) },
        meaning: "The first pause of an app that Douyin throttles or whose credentials it \
                  rejects. Doubles with each that follows without a good answer in between.",
    },
    Knob {
        key: "pause_max_ms",
        slot: Slot::Ms { of: |config| &mut config.douyin.pause_max, bounds: (10, 24 * HOUR) },
        meaning: "The longest pause of an app.",
    },
];
