//! The knobs of the gRPC server and of the stop.

use super::super::knobs::{Knob, Slot};
use super::super::{Config, HOUR, MINUTE, SECOND};

pub(super) const SERVER: &[Knob<Config>] = &[
    Knob {
        key: "grpc_addr",
        slot: Slot::Address { of: |config| &mut config.grpc_addr },
        meaning: "Where gRPC listens, in plain text. There is neither TLS nor authentication: \
                  whoever reaches this address can move money. Keep it inside a trusted network. \
                  Port 0 takes a free one, which is printed at start.",
    },
    Knob {
        key: "unary_limit_ms",
        slot: Slot::Ms { of: |config| &mut config.grpc.unary_limit, bounds: (100, 10 * MINUTE) },
        meaning: "The gateway's own limit of a unary call. A caller without a deadline, or with a \
                  later one, gets `TIME_LIMIT_REACHED` then. The work goes on.",
    },
    Knob {
        key: "slow_consumer_ms",
        slot: Slot::Ms { of: |config| &mut config.grpc.slow_consumer, bounds: (100, 10 * MINUTE) },
        meaning: "How long a message of a watch stream may stay untaken. After that the stream \
                  ends with `SLOW_CONSUMER`.",
    },
    Knob {
        key: "watch_age_max_ms",
        slot: Slot::Ms {
            of: |config| &mut config.gateway.watch_age_max,
            bounds: (SECOND, 24 * HOUR),
        },
        meaning: "The greatest age of a watch stream, ± 10 %. After that it ends with \
                  `STREAM_ROTATED`, so that watchers spread over replicas and proxies' own limits \
                  are not met.",
    },
    Knob {
        key: "watch_resync_ms",
        slot: Slot::Ms { of: |config| &mut config.gateway.resync, bounds: (100, 10 * MINUTE) },
        meaning: "A watched settle is read again at least this often, even if nothing hints that \
                  it changed.",
    },
    Knob {
        key: "watches_max",
        slot: Slot::Count {
            of: |config| &mut config.grpc.watches_max,
            unit: "streams",
            bounds: (1, 1_000_000),
        },
        meaning: "Watch streams open at once in this process. One more gets \
                  `WATCH_LIMIT_REACHED`.",
    },
    Knob {
        key: "creates_max",
        slot: Slot::Count {
            of: |config| &mut config.gateway.creates_max,
            unit: "creates",
            bounds: (1, 100_000),
        },
        meaning: "Creates of one app being recorded or submitted at once. One more gets \
                  `OVERLOADED` with the outcome `not_sent`.",
    },
    Knob {
        key: "budget_wait_ms",
        slot: Slot::Ms { of: |config| &mut config.gateway.budget_wait, bounds: (0, MINUTE) },
        meaning: "How long a create or a question waits until its app may send another request \
                  to Douyin (`requests_per_second`, `requests_in_flight`). After that it gets \
                  `OVERLOADED`, a create with the outcome `not_sent`. Never longer than the \
                  caller's deadline.",
    },
    Knob {
        key: "drain_delay_ms",
        slot: Slot::Ms { of: |config| &mut config.stop.drain_delay, bounds: (0, 5 * MINUTE) },
        meaning: "After SIGTERM or SIGINT: how long the gateway goes on serving while \
                  `grpc.health.v1` says NOT_SERVING. Longer than your load balancer needs to \
                  notice.",
    },
    Knob {
        key: "stop_grace_ms",
        slot: Slot::Ms { of: |config| &mut config.stop.grace, bounds: (100, 10 * MINUTE) },
        meaning: "After the drain delay: how long everything in flight may take. After that the \
                  process ends with what is durable, and exit code 1.",
    },
];
