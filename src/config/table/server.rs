//! The knobs of the gRPC server and of the stop.

use super::super::knobs::{Example, Knob, PATH, Rule, SECRET_PATH, Slot};
use super::super::{Config, MINUTE};
use super::callers::CERTIFICATE_NAME;
use crate::grpc::settlement::watch::HEARTBEAT_MS;
use crate::http::callbacks::OtherTypes;
use crate::telemetry::audit;

pub(super) const SERVER: &[Knob<Config>] = &[
    Knob {
        key: "grpc_addr",
        slot: Slot::Address { of: |config| &mut config.grpc_addr },
        meaning: "Where gRPC listens: in plain text, unless `grpc_tls_certificate_file` is set. In \
                  plain text a listener on the way sees the tokens of callers: keep it inside a \
                  trusted network then, or behind a mesh that encrypts. An address that is not \
                  loopback needs `callers`. Port 0 takes a free one, which is printed at start.",
    },
    Knob {
        key: "grpc_tls_certificate_file",
        slot: Slot::Optional {
            of: |config| &mut config.grpc_tls.certificate_file,
            rule: &PEM,
            example: Example::Inactive("/run/secrets/grpc-chain.pem"),
        },
        meaning: "The certificate chain of the gRPC listener. With it and its key the listener \
                  speaks TLS 1.2 and 1.3, by HTTP/2 only; without, plain text. It is read again \
                  when it changes.",
    },
    Knob {
        key: "grpc_tls_key_file",
        slot: Slot::Optional {
            of: |config| &mut config.grpc_tls.key_file,
            rule: &PEM_KEY,
            example: Example::Inactive("/run/secrets/grpc-key.pem"),
        },
        meaning: "The private key of that certificate. Read again with it.",
    },
    Knob {
        key: "grpc_client_ca_file",
        slot: Slot::Optional {
            of: |config| &mut config.grpc_tls.client_ca_file,
            rule: &PEM,
            example: Example::Inactive("/etc/settlement-gateway/client-ca.pem"),
        },
        meaning: "The authorities of client certificates. With it each client is asked for one. A \
                  certificate that is sent must come from one of them and be valid, or the \
                  connection ends; a client without one may still bring a token. Needs \
                  `grpc_tls_certificate_file`. Read again when it changes, for new connections.",
    },
    Knob {
        key: "allow_anyone_to_move_money",
        slot: Slot::Switch {
            get: |config| config.open_to_anyone,
            set: |config, open| config.open_to_anyone = open,
        },
        meaning: "Whether `grpc_addr` may be another address than loopback although no caller is \
                  configured, so that every peer that reaches it may create settles and decide. \
                  Every start says so in a warning. Without effect as soon as there is a caller.",
    },
    Knob {
        key: "sidecar_names",
        slot: Slot::Texts {
            of: |config| &mut config.sidecar_names,
            rule: &CERTIFICATE_NAME,
            example: &["spiffe://example.com/ingress"],
        },
        meaning: "The names in the client certificates of sidecars and proxies that tell whose \
                  call they pass on, in `x-forwarded-client-cert`: its last element is believed. \
                  From every other peer that header is ignored. None of these names may be a \
                  caller's.",
    },
    Knob {
        key: "sidecar_socket",
        slot: Slot::Optional {
            of: |config| &mut config.sidecar_socket,
            rule: &SOCKET,
            example: Example::Inactive("/run/settlement-gateway/sidecar.sock"),
        },
        meaning: "A Unix socket at which gRPC is taken as well, in plain text, from a sidecar on \
                  this machine. Only the gateway's user and group can open it (mode 0660), so \
                  `x-forwarded-client-cert` is believed there. A socket that was left behind is \
                  replaced; one at which a process listens is refused.",
    },
    Knob {
        key: "audit_to",
        slot: Slot::Text {
            of: |config| &mut config.audit_to,
            rule: &Rule {
                unit: "text",
                bounds: "`off`, `stdout`, or the path of a file, with a /",
                check: |text| match [audit::OFF, audit::STDOUT].contains(&text) {
                    _ if text.contains('/') => Ok(()),
                    true => Ok(()),
                    false => Err("must be off, stdout or a path with a / in it".to_owned()),
                },
            },
        },
        meaning: "Where the audit goes: one line of JSON for each create, each decision of an \
                  operator and each refusal of identity. Lines are added to the file, which is \
                  made with mode 0600 and opened anew on SIGHUP. It never delays a call: lines \
                  that cannot be written are dropped and counted in \
                  `settlement_audit_lines_dropped_total`. What must not be lost is in the \
                  database.",
    },
    Knob {
        key: "reflection",
        slot: Slot::Switch {
            get: |config| config.grpc.reflection,
            set: |config, on| config.grpc.reflection = on,
        },
        meaning: "Whether gRPC reflection answers, which tells every peer the contract (it is \
                  public) so that `grpcurl` needs no file. It asks for no identity, and neither \
                  does `grpc.health.v1`, which is always there.",
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
        key: "heartbeat_ms",
        slot: Slot::Ms { of: |config| &mut config.grpc.heartbeat, bounds: HEARTBEAT_MS },
        meaning: "The longest time between two messages of a watch stream whose caller names no \
                  `heartbeat_interval`: without news the gateway sends a heartbeat. Shorter than \
                  the time after which any proxy on the way cuts an idle stream.",
    },
    Knob {
        key: "watch_resync_ms",
        slot: Slot::Ms { of: |config| &mut config.gateway.resync, bounds: (100, 10 * MINUTE) },
        meaning: "A watched settle is read again at least this often, even if nothing hints that \
                  it changed. With tens of thousands of watches a longer time saves reads.",
    },
    Knob {
        key: "watches_max",
        slot: Slot::Count {
            of: |config| &mut config.grpc.watches_max,
            unit: "streams",
            bounds: (1, 1_000_000),
        },
        meaning: "Watch streams and waits open at once in this process. One more gets \
                  `WATCH_LIMIT_REACHED`.",
    },
    Knob {
        key: "calls_max",
        slot: Slot::Count {
            of: |config| &mut config.grpc.calls_max,
            unit: "calls",
            bounds: (16, 1_000_000),
        },
        meaning: "Calls that wait for the beginning of their answer at once in this process, the \
                  waits among them. One more gets `OVERLOADED`.",
    },
    Knob {
        key: "connections_max",
        slot: Slot::Count {
            of: |config| &mut config.grpc.connections_max,
            unit: "connections",
            bounds: (1, 100_000),
        },
        meaning: "Connections to the gRPC port open at once, each of which takes a file \
                  descriptor. For one more the one that has rested longest makes room: it is \
                  told to connect again. If each has a call or a watch, the new one is told to \
                  go away.",
    },
    Knob {
        key: "connections_per_peer_max",
        slot: Slot::Count {
            of: |config| &mut config.grpc.connections_per_peer_max,
            unit: "connections",
            bounds: (0, 100_000),
        },
        meaning: "Those from one address; 0 sets no limit. Behind a mesh or a proxy all callers \
                  have one address: leave it at 0 there.",
    },
    Knob {
        key: "unread_bytes_max",
        slot: Slot::Count {
            of: |config| &mut config.grpc.unread_bytes_max,
            unit: "bytes",
            bounds: (4 * 1_024 * 1_024, 16 * 1_024 * 1_024 * 1_024),
        },
        meaning: "Answers that wait in this process to be taken by callers who do not read. \
                  Beyond it, a caller that leaves more than 64 KiB of answers untaken gets \
                  `OVERLOADED`, before anything of its call is done.",
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
        key: "callback_addr",
        slot: Slot::Address { of: |config| &mut config.callback.addr },
        meaning: "Where Douyin's callbacks are taken in: `POST /callbacks/douyin/{app_id}`, by \
                  HTTP/1.1 or HTTP/2. The one address that may face the internet. Nothing listens \
                  here unless an app has a `platform_public_keys_file`.",
    },
    Knob {
        key: "callback_other_types",
        slot: Slot::Word {
            words: OtherTypes::WORDS,
            get: |config| config.callback.other_types.word(),
            set: |config, word| {
                let choice = OtherTypes::parse(word);
                choice.map(|choice| config.callback.other_types = choice).is_some()
            },
        },
        meaning: "What becomes of Douyin's notices that are signed and tell of no settle: of \
                  payments, refunds and withdrawals. `acknowledge`: they are counted, and Douyin \
                  does not deliver them again. `refuse`: they are counted and answered 422, so \
                  that Douyin delivers them again, and a router in front can hand them to \
                  another system.",
    },
    Knob {
        key: "callback_tls_certificate_file",
        slot: Slot::Optional {
            of: |config| &mut config.callback.tls.certificate_file,
            rule: &PEM,
            example: Example::Inactive("/run/secrets/callback-chain.pem"),
        },
        meaning: "The certificate chain of the callback listener. With it and its key the \
                  listener speaks TLS; without, plain text, for a proxy in front that does. Read \
                  again when it changes.",
    },
    Knob {
        key: "callback_tls_key_file",
        slot: Slot::Optional {
            of: |config| &mut config.callback.tls.key_file,
            rule: &PEM_KEY,
            example: Example::Inactive("/run/secrets/callback-key.pem"),
        },
        meaning: "The private key of that certificate. Read again with it.",
    },
    Knob {
        key: "callback_connections_max",
        slot: Slot::Count {
            of: |config| &mut config.callback.limits.connections_max,
            unit: "connections",
            bounds: (1, 100_000),
        },
        meaning: "Connections to the callback listener open at once. For one more the one that \
                  has rested longest is closed. If each has a request at work, the new one is \
                  answered 503; with TLS it is only closed.",
    },
    Knob {
        key: "callback_requests_max",
        slot: Slot::Count {
            of: |config| &mut config.callback.limits.requests_max,
            unit: "requests",
            bounds: (1, 10_000),
        },
        meaning: "Callbacks at work at once, each at most 64 KiB; one counts once its body is \
                  here. One more is answered 503, and Douyin delivers it again. As many bytes as \
                  that may be on their way, and 16 KiB of each connection in any case.",
    },
    Knob {
        key: "admin_addr",
        slot: Slot::Address { of: |config| &mut config.admin_addr },
        meaning: "Where `/metrics`, `/livez` and `/readyz` are. Every peer that reaches it may \
                  read them: keep it on loopback or inside a trusted network.",
    },
    Knob {
        key: "admin_hosts",
        slot: Slot::Hosts { of: |config| &mut config.admin_hosts },
        meaning: "The names by which requests may call the admin listener (`Host`), besides any \
                  IP address and `localhost`: what a scraper's configuration says, for example. \
                  Others get 421, and what a page in a browser sends gets 403, so that no page \
                  reads there. A variable parts them by commas.",
    },
    Knob {
        key: "admin_tls_certificate_file",
        slot: Slot::Optional {
            of: |config| &mut config.admin_tls.certificate_file,
            rule: &PEM,
            example: Example::Inactive("/run/secrets/admin-chain.pem"),
        },
        meaning: "The certificate chain of the admin listener. With it and its key the listener \
                  speaks TLS; without, plain text. Read again when it changes.",
    },
    Knob {
        key: "admin_tls_key_file",
        slot: Slot::Optional {
            of: |config| &mut config.admin_tls.key_file,
            rule: &PEM_KEY,
            example: Example::Inactive("/run/secrets/admin-key.pem"),
        },
        meaning: "The private key of that certificate. Read again with it.",
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

/// Linux takes 107 bytes; the gateway needs some of them while it makes the socket.
const SOCKET_BYTES_MAX: usize = 100;
const SOCKET: Rule = Rule {
    unit: "socket",
    bounds: "at most 100 bytes",
    check: |path| match path.len() {
        0..=SOCKET_BYTES_MAX => Ok(()),
        bytes => Err(format!("has {bytes} bytes; at most {SOCKET_BYTES_MAX} are taken")),
    },
};
const PEM: Rule = Rule { unit: PATH, bounds: "PEM, at most 256 KiB", check: |_| Ok(()) };

const PEM_KEY: Rule = Rule { unit: SECRET_PATH, ..PEM };
