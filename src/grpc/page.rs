//! Page tokens of ListSettles: where the page before ended, bound to the filters it was made for.
//!
//! Opaque to callers, not secret: a forged token can only name a place in a list that the caller
//! may read anyway.

use crate::clock::Timestamp;
use crate::store::{ListQuery, Position};

/// The first byte of every token: another layout gets another one.
const VERSION: u8 = 1;
const BYTES: usize = 1 + 8 + 8 + 8;

/// The token of the place where a page of this query ended.
pub fn token(query: &ListQuery, position: Position) -> String {
    let mut bytes = Vec::with_capacity(BYTES);
    bytes.push(VERSION);
    bytes.extend_from_slice(&filters(query));
    bytes.extend_from_slice(&position.create_time.as_ms().to_be_bytes());
    bytes.extend_from_slice(&position.row.to_be_bytes());
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The place that a token names; `None` if the gateway did not make it for this query.
pub fn position(query: &ListQuery, token: &str) -> Option<Position> {
    let bytes = unhex(token)?;
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

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != 2 * BYTES || !text.bytes().all(digit) {
        return None;
    }
    let pairs = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.map(byte).collect()
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
            ListQuery { states: vec![StateKind::Failed], ..query() },
            ListQuery { from: None, ..query() },
            ListQuery { until: Some(Timestamp::from_ms(5)), ..query() },
        ];
        for other in others {
            assert_eq!(position(&other, &token), None, "{other:?}");
        }
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
