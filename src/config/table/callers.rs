//! The knobs of one caller.

use super::super::callers::CallerDraft;
use super::super::knobs::{Example, Knob, Rule, Slot};
use crate::callers::{Fingerprint, Right};
use crate::settle::{AppId, CallerName};

pub(super) const CALLER: &[Knob<CallerDraft>] = &[
    Knob {
        key: "name",
        slot: Slot::Optional {
            of: |caller| &mut caller.name,
            rule: &Rule {
                unit: "text",
                bounds: "1 to 64 bytes, no control characters, each once",
                check: |text| {
                    CallerName::parse(text).map(drop).map_err(|invalid| invalid.to_string())
                },
            },
            example: Example::Inactive("shop"),
        },
        meaning: "Required. What the books, the audit and the log call this caller: callers with \
                  the right to read see it in settles and their history.",
    },
    Knob {
        key: "apps",
        slot: Slot::Texts {
            of: |caller| &mut caller.apps,
            rule: &Rule {
                unit: "texts",
                bounds: "of `apps`, or `\"*\"` alone for all",
                check: |text| AppId::parse(text).map(drop).map_err(|invalid| invalid.to_string()),
            },
            example: &["tt0123456789abcdef"],
        },
        meaning: "The mini-programs that it may use; `\"*\"` also means those that are configured \
                  later. May be left out while there is only one app, and then means that one.",
    },
    Knob {
        key: "rights",
        slot: Slot::Texts {
            of: |caller| &mut caller.rights,
            rule: &Rule {
                unit: "texts",
                bounds: "`create`, `read`, `operate`",
                check: |text| match Right::parse(text) {
                    Some(_) => Ok(()),
                    None => Err("must be create, read or operate".to_owned()),
                },
            },
            example: &["create", "read"],
        },
        meaning: "Required. What it may do: `create` is CreateSettle; `read` is to get, watch, \
                  wait, list and ask Douyin; `operate` is an operator's decisions. No right \
                  implies another. `[]`: nothing any more.",
    },
    Knob {
        key: "token_sha256",
        slot: Slot::Texts {
            of: |caller| &mut caller.token_sha256,
            rule: &Rule {
                unit: "texts",
                bounds: "64 hexadecimal digits each",
                check: |text| match Fingerprint::parse(text) {
                    Some(_) => Ok(()),
                    None => Err("must be 64 hexadecimal digits, the SHA-256 of a token".to_owned()),
                },
            },
            example: &["0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"],
        },
        meaning: "The SHA-256 of each token with which it may call (`authorization: Bearer …`). \
                  Several are good at once, so that a token is replaced without an outage. \
                  `settlement-gateway new-token` makes a token and prints this line.",
    },
    Knob {
        key: "certificate_names",
        slot: Slot::Texts {
            of: |caller| &mut caller.certificate_names,
            rule: &CERTIFICATE_NAME,
            example: &["spiffe://example.com/shop"],
        },
        meaning: "The names in its client certificate: URIs (SPIFFE) and DNS names of the subject \
                  alternative names, compared whole. A certificate with the names of two callers \
                  is neither's.",
    },
];

pub(super) const CERTIFICATE_NAME: Rule = Rule {
    unit: "texts",
    bounds: "a URI or a DNS name each, at most 256 bytes",
    check: |text| {
        let fits = (1..=256).contains(&text.len());
        let strange = |c: char| c.is_whitespace() || c.is_control() || c == '*';
        match fits && !text.contains(strange) {
            true => Ok(()),
            false => Err("must be a URI or a DNS name, whole and without *".to_owned()),
        }
    },
};
