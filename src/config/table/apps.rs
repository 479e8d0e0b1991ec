//! The knobs of one app.

use super::super::apps::AppDraft;
use super::super::knobs::{Example, Knob, PATH, Rule, SECRET_PATH, SECRET_VARIABLE, Slot};
use crate::settle::{NotifyUrl, TradeSystem};

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
        key: "systems",
        slot: Slot::Texts {
            of: |app| &mut app.trade_systems,
            rule: &Rule {
                unit: "names",
                bounds: "some of `general`, `self_operated`, `industry`, `agency`, \
                         `guaranteed`, each once",
                check: |name| {
                    let must = || {
                        let names = TradeSystem::ALL.map(TradeSystem::as_str).join(", ");
                        format!("must be one of {names}")
                    };
                    TradeSystem::parse(name).map(drop).ok_or_else(must)
                },
            },
            example: &["general"],
        },
        meaning: "The trade systems (交易系统) in which the app settles, as it was agreed with Douyin: \
                  `general` (通用交易系统), `self_operated` (生活服务交易系统, 账号融合版), `industry` \
                  (行业交易系统, which needs `private_key_file` and `key_version`), `agency` (全融合版 or \
                  金融融合版, where Douyin settles by itself, so that its settles can only be read), \
                  `guaranteed` (担保支付, which needs a salt, a callback token and `settle.mark`). \
                  The others need a client secret. A \
                  request names one of them, and means `general` if it names none. A callback of \
                  version 2.0 does not say of which system it is: that in which its settle is \
                  recorded, else the one here that has such callbacks; of several, the one in \
                  which Douyin shows the settle. A system that is taken out gets no new \
                  settles. Its open ones are followed to their end for as long as the app has the \
                  client secret; those of `industry` and `guaranteed` are not, because the key and \
                  the salt go with the system.",
    },
    Knob {
        key: "client_secret_env",
        slot: Slot::Optional {
            of: |app| &mut app.client_secret_env,
            rule: &VARIABLE,
            example: Example::Active("DOUYIN_CLIENT_SECRET"),
        },
        meaning: "The environment variable that holds the client secret, with which the access \
                  tokens of `general`, `self_operated` and `agency` are fetched. An app that has \
                  none of these systems needs none.",
    },
    Knob {
        key: "client_secret_file",
        slot: Slot::Optional {
            of: |app| &mut app.client_secret_file,
            rule: &SECRET_FILE,
            example: Example::Inactive("/run/secrets/douyin-client-secret"),
        },
        meaning: "The file that holds the client secret, in place of `client_secret_env`. A file \
                  that others may read gets a warning.",
    },
    Knob {
        key: "private_key_file",
        slot: Slot::Optional {
            of: |app| &mut app.private_key_file,
            rule: &Rule {
                unit: SECRET_PATH,
                bounds: "one RSA private key of 2048 to 4096 bits, at most 64 KiB",
                check: |_| Ok(()),
            },
            example: Example::Inactive("/run/secrets/douyin-app-private-key.pem"),
        },
        meaning: "The private key of the app, whose public half is in Douyin's console (开发设置 / \
                  密钥设置): PKCS#8 or PKCS#1, PEM or the bare Base64. It signs the calls of the \
                  trade system `industry`, and is for that only. A file that others may read gets \
                  a warning.",
    },
    Knob {
        key: "key_version",
        slot: Slot::Optional {
            of: |app| &mut app.key_version,
            rule: &Rule {
                unit: "text",
                bounds: "1 to 32 letters and digits",
                check: |text| {
                    let fits = text.len() <= 32 && text.chars().all(|c| c.is_ascii_alphanumeric());
                    let must = "must be 1 to 32 letters and digits";
                    if fits { Ok(()) } else { Err(must.to_owned()) }
                },
            },
            example: Example::Inactive("1"),
        },
        meaning: "The version that Douyin's console shows of that public half. It grows when the \
                  key is replaced.",
    },
    Knob {
        key: "salt_env",
        slot: Slot::Optional {
            of: |app| &mut app.salt_env,
            rule: &VARIABLE,
            example: Example::Inactive("DOUYIN_PAYMENT_SALT"),
        },
        meaning: "The environment variable that holds the payment salt (支付 SALT) of Douyin's \
                  console. It signs the calls of the trade system `guaranteed`, and is for that \
                  only.",
    },
    Knob {
        key: "salt_file",
        slot: Slot::Optional {
            of: |app| &mut app.salt_file,
            rule: &SECRET_FILE,
            example: Example::Inactive("/run/secrets/douyin-payment-salt"),
        },
        meaning: "The file that holds the payment salt, in place of `salt_env`. A file that others \
                  may read gets a warning.",
    },
    Knob {
        key: "callback_token_env",
        slot: Slot::Optional {
            of: |app| &mut app.callback_token_env,
            rule: &VARIABLE,
            example: Example::Inactive("DOUYIN_CALLBACK_TOKEN"),
        },
        meaning: "The environment variable that holds the token (Token) of Douyin's console, with \
                  which callbacks of the trade system `guaranteed` are signed, and is for that \
                  only.",
    },
    Knob {
        key: "callback_token_file",
        slot: Slot::Optional {
            of: |app| &mut app.callback_token_file,
            rule: &SECRET_FILE,
            example: Example::Inactive("/run/secrets/douyin-callback-token"),
        },
        meaning: "The file that holds that token, in place of `callback_token_env`. A file that \
                  others may read gets a warning.",
    },
    Knob {
        key: "platform_public_keys_file",
        slot: Slot::Optional {
            of: |app| &mut app.platform_public_keys_file,
            rule: &Rule {
                unit: PATH,
                bounds: "1 to 8 RSA public keys, at most 64 KiB",
                check: |_| Ok(()),
            },
            example: Example::Inactive("/etc/settlement-gateway/platform-public-keys.pem"),
        },
        meaning: "The platform public key of this app, as Douyin's console shows it (开发设置 / \
                  密钥设置): PEM (`PUBLIC KEY`, `RSA PUBLIC KEY`) or the bare Base64. During a \
                  rotation the old one and the new one stand in the file, with an empty line \
                  between them. Lines that begin with `#` are comments; anything else is a \
                  problem. Without it callbacks to this app are refused, and its settles \
                  are followed by polling.",
    },
    Knob {
        key: "callback_url",
        slot: Slot::Optional {
            of: |app| &mut app.callback_url,
            rule: &Rule {
                unit: "address",
                bounds: "https, at most 512 bytes",
                check: |text| {
                    NotifyUrl::parse(text).map(drop).map_err(|invalid| invalid.to_string())
                },
            },
            example: Example::Inactive(
                "https://pay.example.com/callbacks/douyin/tt0123456789abcdef",
            ),
        },
        meaning: "The public address at which Douyin reaches `/callbacks/douyin/{app_id}` of this \
                  gateway. It is sent as the `notify_url` of creates that name none. Without it \
                  Douyin uses the address of its console. Needs `platform_public_keys_file` or a \
                  callback token.",
    },
    Knob {
        key: "caller_tokens_file",
        slot: Slot::Optional {
            of: |app| &mut app.caller_tokens_file,
            rule: &Rule {
                unit: SECRET_PATH,
                bounds: "1 to 64 tokens of 32 to 256 characters, at most 64 KiB",
                check: |_| Ok(()),
            },
            example: Example::Inactive("/run/secrets/settlement-callers"),
        },
        meaning: "The way of the version before to name callers, taken for the last time: a token \
                  in each line, of A-Z, a-z, 0-9 and `-._~+/=`; lines that begin with `#` are \
                  comments. They are the tokens of a caller that is called like the app and may \
                  create and read there. A warning at start prints the block of `callers` to \
                  write instead. A file that others may read gets a warning.",
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

/// A file that holds a secret.
pub(super) static SECRET_FILE: Rule = Rule {
    unit: SECRET_PATH,
    bounds: "readable, not empty, at most 4_096 bytes",
    check: |_| Ok(()),
};

/// The name of a variable that holds a secret.
pub(super) static VARIABLE: Rule = Rule {
    unit: SECRET_VARIABLE,
    bounds: "a variable that is set and not empty",
    check: |name| {
        let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let must = "must be the name of an environment variable";
        if name.chars().all(letter) { Ok(()) } else { Err(must.to_owned()) }
    },
};
