//! Moments as the contract shows them.

use crate::clock::Timestamp;

/// A moment as the contract shows it.
pub(crate) fn time(time: Timestamp) -> prost_types::Timestamp {
    let nanos = i32::try_from(time.as_ms().rem_euclid(1_000) * 1_000_000)
        .expect("less than a second of nanoseconds fits into 32 bits");
    prost_types::Timestamp { seconds: time.as_ms().div_euclid(1_000), nanos }
}

/// Whether a protobuf Timestamp can express it: the years 1 to 9999. An earlier release recorded
/// every time that Douyin sent.
pub(crate) fn is_sayable(moment: Timestamp) -> bool {
    (-62_135_596_800_000..=253_402_300_799_999).contains(&moment.as_ms())
}

/// A moment as people and JSON write it.
pub(crate) fn rfc3339(moment: Timestamp) -> String {
    time(moment).to_string()
}
