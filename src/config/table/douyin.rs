//! The knobs of the client of Douyin.

use super::super::knobs::{Example, Knob, PATH, Rule, SECRET_PATH, Slot};
use super::super::{Config, HOUR, MINUTE, SECOND};
use crate::douyin::transport::base_url;
use crate::douyin::way::ProxyAddress;

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
        key: "developer_base_url",
        slot: Slot::Text {
            of: |config| &mut config.douyin.developer_base_url,
            rule: &Rule {
                unit: "address",
                bounds: "http(s), a host, no query, no user",
                check: |text| {
                    let must = "must be an http(s) address of a host, without query or user";
                    base_url(text).map(drop).map_err(|_| must.to_owned())
                },
            },
        },
        meaning: "The same of Douyin's developer platform, which takes the calls of the trade \
                  systems `industry` and `guaranteed`.",
    },
    Knob {
        key: "unsettled_amount_elsewhere",
        slot: Slot::Switch {
            get: |config| config.grpc.unsettled_amount_elsewhere,
            set: |config, on| config.grpc.unsettled_amount_elsewhere = on,
        },
        meaning: "Whether GetUnsettledAmount asks for orders of every trade system. Douyin's page \
                  of the call is that of `guaranteed`; whether it takes other orders is unproven. \
                  The app needs the salt of `guaranteed` for it.",
    },
    Knob {
        key: "proxy_url",
        slot: Slot::Optional {
            of: |config| &mut config.way.proxy_url,
            rule: &Rule {
                unit: "address",
                bounds: "http, a host, a port, no user, no path",
                check: |text| ProxyAddress::parse(text).map(drop).map_err(|bad| bad.to_string()),
            },
            example: Example::Inactive("http://proxy.example:3128"),
        },
        meaning: "The proxy through which every connection to Douyin goes, by CONNECT, so that \
                  Douyin sees the proxy's address. The proxy looks up Douyin's name, and inside \
                  TLS sees nothing. Without this key connections are direct, and variables such \
                  as `HTTPS_PROXY` are never read.",
    },
    Knob {
        key: "proxy_credentials_file",
        slot: Slot::Optional {
            of: |config| &mut config.way.proxy_credentials_file,
            rule: &Rule { unit: SECRET_PATH, bounds: "at most 4 KiB", check: |_| Ok(()) },
            example: Example::Inactive("/run/secrets/proxy-credentials"),
        },
        meaning: "A file with `user:password`, as which the gateway introduces itself to the \
                  proxy (Basic).",
    },
    Knob {
        key: "ca_file",
        slot: Slot::Optional {
            of: |config| &mut config.way.ca_file,
            rule: &Rule { unit: PATH, bounds: "PEM, at most 1 MiB", check: |_| Ok(()) },
            example: Example::Inactive("/etc/settlement-gateway/douyin-ca.pem"),
        },
        meaning: "Certificates of the authorities that may have signed Douyin's certificate. They \
                  are trusted instead of those of the operating system. For a proxy that opens \
                  TLS, and to trust fewer authorities.",
    },
    Knob {
        key: "connect_timeout_ms",
        slot: Slot::Ms { of: |config| &mut config.douyin.connect_timeout, bounds: (10, MINUTE) },
        meaning: "The time to connect, a proxy's tunnel and TLS included.",
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
        key: "refetch_gap_ms",
        slot: Slot::Ms { of: |config| &mut config.douyin.refetch_gap, bounds: (100, HOUR) },
        meaning: "The least time between two fetches of a *rejected* token. Douyin keeps only the \
                  newest two tokens of an app alive, so fetching in a hurry kills those of other \
                  systems.",
    },
    Knob {
        key: "pause_max_ms",
        slot: Slot::Ms { of: |config| &mut config.douyin.pause_max, bounds: (SECOND, 24 * HOUR) },
        meaning: "The longest pause of an app that Douyin throttles or whose credentials it \
                  rejects. The first pause is 1 s, and each that follows without a good answer in \
                  between is twice as long.",
    },
];
