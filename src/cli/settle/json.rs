//! Messages of the contract as protobuf's JSON.

use std::sync::LazyLock;

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::{Value, json};
use tonic::Status;

use crate::proto::DESCRIPTOR_SET;

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(DESCRIPTOR_SET).expect("the compiled-in descriptors are sound")
});

/// A message of the contract on several lines.
pub(super) fn pretty(name: &str, message: &impl Message) -> String {
    let value = value(name, message);
    serde_json::to_string_pretty(&value).expect("JSON values can be written") + "\n"
}

/// A message of the contract on one line.
pub(super) fn line(name: &str, message: &impl Message) -> String {
    format!("{}\n", value(name, message))
}

fn value(name: &str, message: &impl Message) -> Value {
    let encoded = message.encode_to_vec();
    let value = dynamic(&format!("douyin.settlement.v1.{name}"), &encoded);
    value.expect("a message of the contract is one by its descriptor")
}

fn dynamic(full_name: &str, encoded: &[u8]) -> Option<Value> {
    let descriptor = POOL.get_message_by_name(full_name)?;
    let message = DynamicMessage::decode(descriptor, encoded).ok()?;
    serde_json::to_value(message).ok()
}

/// A message of this command's own.
pub(super) fn message(text: &str) -> String {
    json!({ "message": text }).to_string()
}

/// A status with its details, on one line.
pub(super) fn status(status: &Status) -> String {
    let detailed = match status.details() {
        [] => None,
        // A proxy on the way may add details of kinds that are not known here.
        details => dynamic("google.rpc.Status", details),
    };
    let bare = || json!({ "code": i32::from(status.code()), "message": status.message() });
    detailed.unwrap_or_else(bare).to_string()
}
