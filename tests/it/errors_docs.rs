//! What is written about errors is what the tables say: the page, the comments of the contract, and
//! the published service config.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use prost_types::{FileDescriptorProto, FileDescriptorSet};
use serde_json::Value;
use settlement_gateway::douyin::codes;
use settlement_gateway::grpc::reasons;
use settlement_gateway::grpc::rpc::Rpc;
use settlement_gateway::proto::DESCRIPTOR_SET;

use crate::config::{gateway, ran};
use crate::printed::assert_printed;

#[test]
fn the_page_of_errors_is_what_the_command_prints() {
    let (code, printed, _) = ran(&mut gateway(&["errors", "--format", "markdown"], &[]));
    assert_eq!(code, 0);
    assert_printed("docs/ERRORS.md", "", "", &printed);
}

#[test]
fn the_page_has_an_anchor_for_each_reason_and_no_link_leads_nowhere() {
    let (_, page, _) = ran(&mut gateway(&["errors"], &[]));
    let headings = page.lines().filter_map(|line| line.strip_prefix("### "));
    let anchors: Vec<_> = headings.map(str::to_ascii_lowercase).collect();
    let reasons: BTreeSet<_> = all_reasons().into_keys().map(str::to_ascii_lowercase).collect();
    assert_eq!(anchors.iter().cloned().collect::<BTreeSet<_>>(), reasons);
    assert_eq!(anchors.len(), reasons.len(), "each once");
    for link in page.split("](#").skip(1).map(|rest| rest.split(')').next().unwrap()) {
        assert!(reasons.contains(link), "{link}");
    }
}

/// Every reason, with its gRPC code as the contract spells it.
fn all_reasons() -> BTreeMap<&'static str, String> {
    let own = reasons::TABLE.iter().map(|row| (row.reason, row.code));
    let douyin = codes::table()
        .into_iter()
        .map(|(row, _)| row)
        .chain([codes::other()])
        .map(|row| (row.reason, row.code));
    own.chain(douyin).map(|(reason, code)| (reason.as_str(), snake(&format!("{code:?}")))).collect()
}

/// `NotFound` becomes `NOT_FOUND`.
fn snake(camel: &str) -> String {
    let mut snake = String::new();
    for c in camel.chars() {
        if c.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(c.to_ascii_uppercase());
    }
    snake
}

/// The reasons that an RPC can answer, by the tables.
fn reasons_of(rpc: Rpc) -> BTreeSet<&'static str> {
    let own =
        reasons::TABLE.iter().filter(|row| row.rpcs.contains(&rpc)).map(|row| row.reason.as_str());
    let mut reasons: BTreeSet<_> = own.collect();
    if Rpc::ASKING.contains(&rpc) {
        reasons.extend(
            codes::table()
                .into_iter()
                .map(|(row, _)| row)
                .chain([codes::other()])
                .map(|row| row.reason.as_str()),
        );
    }
    reasons
}

struct Contract {
    /// The errors of every RPC that the comment of each service lists.
    of_every_rpc: BTreeMap<String, BTreeSet<String>>,
    of_asking: BTreeSet<String>,
    /// The comment of each RPC.
    methods: BTreeMap<String, String>,
}

impl Contract {
    fn read() -> Self {
        let set = FileDescriptorSet::decode(DESCRIPTOR_SET).unwrap();
        let is_ours = |file: &&FileDescriptorProto| file.package() == "douyin.settlement.v1";
        let (mut of_every_rpc, mut of_asking) = (BTreeMap::new(), BTreeSet::new());
        let mut methods = BTreeMap::new();
        for file in set.file.iter().filter(is_ours) {
            let comment = |path: &[i32]| {
                let places = &file.source_code_info.as_ref().unwrap().location;
                let place = places.iter().find(|place| place.path == path).unwrap();
                place.leading_comments().to_owned()
            };
            let service = comment(&[6, 0]);
            let (_, every) = service.split_once("Errors of every RPC, with").unwrap();
            let asking = every.split_once("Errors of every RPC that asks Douyin");
            let every = asking.map_or(every, |(every, _)| every);
            of_asking.extend(asking.map(|(_, asking)| listed(asking)).unwrap_or_default());
            let name = format!("{}.{}", file.package(), file.service[0].name());
            of_every_rpc.insert(name, listed(every));
            for (i, method) in (0..).zip(&file.service[0].method) {
                methods.insert(method.name().to_owned(), comment(&[6, 0, 2, i]));
            }
        }
        Self { of_every_rpc, of_asking, methods }
    }

    /// The reasons that an RPC can answer, by the comments.
    fn reasons_of(&self, rpc: Rpc) -> BTreeSet<String> {
        let comment = &self.methods[rpc.name()];
        let (_, errors) = comment.split_once("Errors, besides those of every RPC").unwrap();
        let mut reasons = &listed(errors) | &self.of_every_rpc[rpc.service()];
        let asks = errors.starts_with(" that asks Douyin:");
        assert!(asks || errors.starts_with(':'), "{}: {errors}", rpc.name());
        let flat = errors.split_whitespace().collect::<Vec<_>>().join(" ");
        if asks || flat.contains("also the errors of every RPC that asks Douyin") {
            reasons.extend(self.of_asking.iter().cloned());
        }
        // What is an exception from those of every RPC.
        if let Some((_, never)) = flat.split_once("it never answers ") {
            for reason in never.split(|c: char| !c.is_ascii_uppercase() && c != '_') {
                reasons.remove(reason);
            }
        }
        reasons
    }
}

/// The reasons in a list like `- NOT_FOUND, ORDER_NOT_FOUND or SETTLE_NOT_FOUND: what happened`.
/// Each must have the code that it is listed with.
fn listed(text: &str) -> BTreeSet<String> {
    let known = all_reasons();
    let mut reasons = BTreeSet::new();
    let flat = text.lines().map(str::trim).collect::<Vec<_>>().join("\n");
    for item in flat.split("\n- ").skip(1) {
        let head = item.split(':').next().unwrap();
        let words = head.split(|c: char| !c.is_ascii_uppercase() && c != '_');
        let mut words = words.filter(|word| word.len() > 2 && *word != "RPC" && *word != "RPCs");
        let Some(code) = words.next() else { continue };
        for reason in words {
            let listed = known.get(reason).unwrap_or_else(|| panic!("no such reason: {reason}"));
            assert_eq!(listed, code, "{reason}");
            reasons.insert(reason.to_owned());
        }
    }
    reasons
}

#[test]
fn the_comments_of_the_contract_name_the_reasons_of_each_rpc() {
    let contract = Contract::read();
    for rpc in Rpc::ALL {
        let named = contract.reasons_of(*rpc);
        let by_tables: BTreeSet<_> = reasons_of(*rpc).into_iter().map(str::to_owned).collect();
        let missing: Vec<_> = by_tables.difference(&named).collect();
        let extra: Vec<_> = named.difference(&by_tables).collect();
        assert!(missing.is_empty(), "{}: {missing:?} are not named", rpc.name());
        assert!(extra.is_empty(), "{}: {extra:?} cannot be answered", rpc.name());
    }
}

fn service_config() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/service-config.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// What gRPC's own documents ask of it, and what this contract does.
#[test]
fn the_service_config_names_every_rpc_of_callers_once_and_retries_what_may_be_retried() {
    let config = service_config();
    let service = "douyin.settlement.v1.SettlementService";
    assert_eq!(config["healthCheckConfig"]["serviceName"], service);
    assert_eq!(config["loadBalancingConfig"], serde_json::json!([{ "round_robin": {} }]));
    let mut named = Vec::new();
    for method in config["methodConfig"].as_array().unwrap() {
        let names: Vec<_> = method["name"].as_array().unwrap().iter().collect();
        for name in &names {
            assert_eq!(name["service"], service);
            named.push(name["method"].as_str().unwrap());
        }
        let retry = &method["retryPolicy"];
        let attempts = retry["maxAttempts"].as_u64().unwrap();
        assert!((2..=5).contains(&attempts), "gRPC makes at most five");
        assert_eq!(retry["retryableStatusCodes"], serde_json::json!(["UNAVAILABLE"]));
        let streams = names.iter().any(|name| name["method"] == "WatchSettle");
        assert_eq!(method["timeout"].is_null(), streams, "a stream has no end of its own");
    }
    named.sort_unstable();
    // An operator's decision is not repeated by a library.
    let of_callers = Rpc::ALL.iter().filter(|rpc| rpc.service().ends_with(".SettlementService"));
    let mut all: Vec<_> = of_callers.map(|rpc| rpc.name()).collect();
    all.sort_unstable();
    assert_eq!(named, all);
}

/// A retry by the service config can only be right where the tables say so: whatever is
/// UNAVAILABLE comes with `now`.
#[test]
fn whatever_the_service_config_retries_may_be_retried() {
    use settlement_gateway::douyin::codes::Retry;
    let own = reasons::TABLE.iter().map(|row| (row.reason, row.code, row.retry));
    let douyin =
        codes::table().into_iter().map(|(row, _)| row).map(|row| (row.reason, row.code, row.retry));
    for (reason, code, retry) in own.chain(douyin) {
        if code == tonic::Code::Unavailable {
            assert!(matches!(retry, Retry::Now(_)), "{reason:?}");
        }
    }
}
