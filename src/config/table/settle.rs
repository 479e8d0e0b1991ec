//! The knobs of a settle's life.

use super::super::knobs::{Knob, Slot};
use super::super::{Config, HOUR, MINUTE};
use crate::grpc::DuplicateReceivers;
use crate::settle::Mark;

pub(super) const SETTLE: &[Knob<Config>] = &[
    Knob {
        key: "visibility_grace_ms",
        slot: Slot::Ms { of: |config| &mut config.gateway.policy.grace, bounds: (100, 24 * HOUR) },
        meaning: "MONEY DEPENDS ON THIS ONE. How long Douyin may hide a settle from queries \
                  after it took the send, at most. An empty query is proof only if it began this \
                  long (and `call_timeout_ms`) after the last send. A value shorter than the \
                  truth can call a settle REJECTED that Douyin took, and its caller pays again; a \
                  longer one only keeps doubtful settles waiting. Douyin documents no figure; the \
                  default is a guess.",
    },
    Knob {
        key: "grace_proves",
        slot: Slot::Switch {
            get: |config| config.gateway.policy.grace_proves,
            set: |config, proves| config.gateway.policy.grace_proves = proves,
        },
        meaning: "Whether an empty query after the grace is proof at all. With `false` a settle \
                  in doubt is never rejected by itself and stays SUBMITTING for a person.",
    },
    Knob {
        key: "exists_absent_max_ms",
        slot: Slot::Ms {
            of: |config| &mut config.gateway.policy.exists_absent_max,
            bounds: (100, 72 * HOUR),
        },
        meaning: "How long a number may answer 23111 (\"exists\") and yet be invisible to \
                  queries. After that the settle becomes REJECTED if every send of it was \
                  answered; else it stays, and an `ExistsButAbsent` alert is logged with each \
                  further empty query.",
    },
    Knob {
        key: "mark",
        slot: Slot::Switch {
            get: |config| config.gateway.mark == Mark::On,
            set: |config, on| config.gateway.mark = if on { Mark::On } else { Mark::Off },
        },
        meaning: "Whether a settle whose caller leaves `ext` empty is sent with `ext` = `sg1:` \
                  and a hash of its content. Douyin hands it back, which proves whose settle a \
                  report speaks of. Without it, a settle is recognised by its order only, and one \
                  that was first learned of from Douyin is never recognised as the caller's own. \
                  It must be `true` if an app settles in `guaranteed`, where nothing else shows \
                  whose a settle is: what a caller sends with an empty `ext` would stay \
                  SUBMITTING for ever.",
    },
    Knob {
        key: "duplicate_receivers",
        slot: Slot::Switch {
            get: |config| config.grpc.duplicate_receivers == DuplicateReceivers::Allow,
            set: |config, allow| {
                use DuplicateReceivers::{Allow, Refuse};
                config.grpc.duplicate_receivers = if allow { Allow } else { Refuse };
            },
        },
        meaning: "Whether `settle_params` may name a receiver twice. Douyin documents nothing, so \
                  such a create is refused with `INVALID_REQUEST` unless this is `true`.",
    },
    Knob {
        key: "poll_first_ms",
        slot: Slot::Ms {
            of: |config| &mut config.gateway.schedule.first,
            bounds: (10, 10 * MINUTE),
        },
        meaning: "The wait before a settle is looked at again after something was news. Doubles \
                  with each look without news. Every wait is spread over ± 20 %.",
    },
    Knob {
        key: "poll_cap_ms",
        slot: Slot::Ms { of: |config| &mut config.gateway.schedule.cap, bounds: (10, 24 * HOUR) },
        meaning: "The longest wait of a settle that no caller watches.",
    },
    Knob {
        key: "poll_watched_cap_ms",
        slot: Slot::Ms {
            of: |config| &mut config.gateway.schedule.watched_cap,
            bounds: (10, HOUR),
        },
        meaning: "The longest wait of a settle that a caller watches.",
    },
    Knob {
        key: "lease_ms",
        slot: Slot::Ms { of: |config| &mut config.gateway.lease, bounds: (20, HOUR) },
        meaning: "How long a worker may hold a settle between two steps before another may take \
                  over.",
    },
];
