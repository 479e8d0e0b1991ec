//! Numbers that look like Douyin's, drawn from the seed and the name of the thing.
//!
//! They do not depend on the order of arrival, so that a repeated run of a seed gives the same
//! numbers in any interleaving. It does not know what they name.

use super::system::{Account, System};
use super::systems::Reading;

/// A generator that depends on the seed and on every part, and on nothing else.
pub(super) fn draw(seed: u64, parts: &[&str]) -> fastrand::Rng {
    // FNV-1a: stable across Rust releases, which the standard hasher does not promise to be.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ seed;
    for part in parts {
        for byte in part.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    fastrand::Rng::with_seed(hash)
}

/// As in Douyin's samples: `ots` and 23 digits in the general system, `ot` or nothing and 19 digits
/// in the others.
pub(super) fn settle_id(seed: u64, account: Account<'_>, name: &str, nth: usize) -> String {
    let (Account { system, app_id }, nth) = (account, nth.to_string());
    let digits = match system {
        System::General => platform_digits(seed, app_id, &["settle", app_id, name, &nth]),
        System::SelfOperated | System::Industry | System::Agency | System::Guaranteed => {
            nineteen_digits(&mut draw(seed, &["settle", system.word(), app_id, name, &nth]))
        }
    };
    format!("{}{digits}", Reading::of(system).id_prefix)
}

/// 19 digits (§1.6, `wallet_settle_id`).
pub(super) fn wallet_settle_id(seed: u64, settle_id: &str) -> String {
    nineteen_digits(&mut draw(seed, &["wallet", settle_id]))
}

/// `motb` and 23 digits, as in the samples of §7.1.
pub(super) fn order_id(seed: u64, app_id: &str, out_order_no: &str) -> String {
    format!("motb{}", platform_digits(seed, app_id, &["order", app_id, out_order_no]))
}

/// `clt.` and 60 characters.
pub(super) fn token(seed: u64, app_id: &str, nth: u64) -> String {
    let mut rng = draw(seed, &["token", app_id, &nth.to_string()]);
    let tail: String = (0..60).map(|_| rng.alphanumeric()).collect();
    format!("clt.{tail}")
}

/// 32 letters and digits, as in captured callbacks (§3.1).
pub(super) fn nonce(seed: u64, name: &[&str]) -> String {
    let mut rng = draw(seed, &[&["nonce"], name].concat());
    (0..32).map(|_| rng.alphanumeric()).collect()
}

/// Up to four digits, as in the samples of guaranteed payment.
pub(super) fn short_nonce(seed: u64, name: &[&str]) -> String {
    draw(seed, &[&["nonce"], name].concat()).u16(1..10_000).to_string()
}

/// This many hex digits without meaning.
pub(super) fn hex_digits(count: usize, name: &[&str]) -> String {
    let mut rng = draw(0, name);
    (0..count).map(|_| rng.digit(16)).collect()
}

/// 53 characters: `02`, the time, an address and six hex digits, as in the sample of §1.6.
pub(super) fn log_id(seed: u64, now_ms: u64, nth: u64) -> String {
    log_id_of(now_ms, &mut draw(seed, &["log", &nth.to_string()]))
}

/// The same for a callback.
pub(super) fn callback_log_id(seed: u64, now_ms: u64, name: &[&str]) -> String {
    log_id_of(now_ms, &mut draw(seed, &[&["callback log"], name].concat()))
}

fn log_id_of(now_ms: u64, rng: &mut fastrand::Rng) -> String {
    let tail = rng.u32(..0x0100_0000);
    format!("02{now_ms:013}00000000000000000000ffff0a707cb7{tail:06x}")
}

/// 19 digits of the thing and four that all things of one app share, as the samples suggest.
fn platform_digits(seed: u64, app_id: &str, parts: &[&str]) -> String {
    let suffix = draw(seed, &["app", app_id]).u16(..10_000);
    format!("{}{suffix:04}", nineteen_digits(&mut draw(seed, parts)))
}

fn nineteen_digits(rng: &mut fastrand::Rng) -> String {
    (7_000_000_000_000_000_000 + rng.u64(..1_000_000_000_000_000_000)).to_string()
}
