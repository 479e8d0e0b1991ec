//! Page tokens of ListSettles: where the page before ended, bound to the filters of its request.
//!
//! Opaque to callers and not secret: a forged token can only name a place in a list that the caller
//! may read anyway.

use prost::Message as _;
use prost::encoding::{encoded_len_varint, key_len};

use crate::clock::Timestamp;
use crate::proto::v1;
use crate::settle::TradeSystem;
use crate::store::{ListQuery, Position};

/// The largest page. Clients take 4 MiB unless they are told otherwise.
pub const PAGE_BYTES_MAX: usize = 3 * 1024 * 1024;

/// The first byte of every token. A new layout needs a new version.
const VERSION: u8 = 1;
const BYTES: usize = 1 + 8 + 8 + 8;

/// The token for the place where a page of this query ended.
pub fn token(query: &ListQuery, position: Position) -> String {
    let mut bytes = Vec::with_capacity(BYTES);
    bytes.push(VERSION);
    bytes.extend_from_slice(&filters(query));
    bytes.extend_from_slice(&position.create_time.as_ms().to_be_bytes());
    bytes.extend_from_slice(&position.row.to_be_bytes());
    hex::encode(bytes)
}

/// The place that a token names; `None` if the gateway did not make it for this query.
pub fn position(query: &ListQuery, token: &str) -> Option<Position> {
    let mut bytes = [0; BYTES];
    hex::decode_to_slice(token, &mut bytes).ok()?;
    // Each place has one token: upper case is refused.
    if hex::encode(bytes) != token {
        return None;
    }
    let (version, rest) = bytes.split_first()?;
    let (filters_then, rest) = rest.split_first_chunk::<8>()?;
    let (create_time, rest) = rest.split_first_chunk::<8>()?;
    let row: [u8; 8] = rest.try_into().ok()?;
    if *version != VERSION || *filters_then != filters(query) {
        return None;
    }
    let create_time = Timestamp::from_ms(i64::from_be_bytes(*create_time));
    Some(Position { create_time, row: i64::from_be_bytes(row) })
}

/// How many of these, from the first on, fit into a page; at least one, if there is one.
pub fn fitting(settles: &[v1::Settle]) -> usize {
    let mut bytes = 0;
    let fit = settles.iter().take_while(|settle| {
        let length = settle.encoded_len();
        bytes +=
            key_len(1) + encoded_len_varint(u64::try_from(length).unwrap_or(u64::MAX)) + length;
        bytes <= PAGE_BYTES_MAX
    });
    fit.count().max(settles.len().min(1))
}

/// A digest of everything that decides which settles are listed.
fn filters(query: &ListQuery) -> [u8; 8] {
    let mut states: Vec<_> = query.states.iter().map(|state| state.as_str()).collect();
    states.sort_unstable();
    states.dedup();
    let text = format!(
        "{:?}",
        (
            query.app_id.as_str(),
            query.out_order_no.as_ref().map(|number| number.as_str()),
            query.trade_system.map(TradeSystem::as_str),
            states,
            query.from.map(Timestamp::as_ms),
            query.until.map(Timestamp::as_ms),
        )
    );
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    let first = digest.as_ref().first_chunk::<8>();
    *first.expect("a SHA-256 digest has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settle::{AppId, OutOrderNo, StateKind};

    fn query() -> ListQuery {
        ListQuery {
            app_id: AppId::parse("tt1").unwrap(),
            out_order_no: None,
            trade_system: Some(TradeSystem::Industry),
            states: vec![StateKind::Failed, StateKind::Rejected],
            from: Some(Timestamp::from_ms(5)),
            until: None,
            after: None,
            settles_max: 50,
        }
    }

    #[test]
    fn a_token_names_its_place_for_its_own_filters_only() {
        let place = Position { create_time: Timestamp::from_ms(-7), row: i64::MAX };
        let token = token(&query(), place);
        assert_eq!(position(&query(), &token), Some(place));
        let same = ListQuery {
            states: vec![StateKind::Rejected, StateKind::Failed],
            settles_max: 7,
            after: Some(place),
            ..query()
        };
        assert_eq!(position(&same, &token), Some(place), "order, size and place are no filters");
        let others = [
            ListQuery { app_id: AppId::parse("tt2").unwrap(), ..query() },
            ListQuery { out_order_no: Some(OutOrderNo::parse("o").unwrap()), ..query() },
            ListQuery { trade_system: None, ..query() },
            ListQuery { trade_system: Some(TradeSystem::Agency), ..query() },
            ListQuery { states: vec![StateKind::Failed], ..query() },
            ListQuery { from: None, ..query() },
            ListQuery { until: Some(Timestamp::from_ms(5)), ..query() },
        ];
        for other in others {
            assert_eq!(position(&other, &token), None, "{other:?}");
        }
    }

    #[test]
    fn a_page_has_as_many_settles_as_fit() {
        let settle =
            |bytes: usize| v1::Settle { ext: Some("x".repeat(bytes)), ..v1::Settle::default() };
        assert_eq!(fitting(&[]), 0);
        assert_eq!(fitting(&vec![settle(10); 500]), 500);
        assert_eq!(fitting(&[settle(4 << 20)]), 1, "an empty page would be asked for again");
        let settles = vec![settle(10_000); 500];
        let fit = fitting(&settles);
        let encoded = |count: usize| {
            let settles = settles.split_at(count).0.to_vec();
            v1::ListSettlesResponse { settles, ..Default::default() }.encoded_len()
        };
        assert!(encoded(fit) <= PAGE_BYTES_MAX && encoded(fit + 1) > PAGE_BYTES_MAX, "{fit}");
    }

    #[test]
    fn nonsense_is_no_token() {
        let place = Position { create_time: Timestamp::from_ms(1), row: 1 };
        let good = token(&query(), place);
        let cut = good.split_at(good.len() - 1).0;
        let sign = good.replacen("0000", "+0+0", 1);
        assert_eq!(position(&query(), &sign), None, "a sign is no digit");
        assert_eq!(position(&query(), &good.to_uppercase()), None, "one place has one token");
        for bad in ["", "zz", cut, &format!("{good}00"), &good.replace('0', "g"), "分"] {
            assert_eq!(position(&query(), bad), None, "{bad}");
        }
    }
}
