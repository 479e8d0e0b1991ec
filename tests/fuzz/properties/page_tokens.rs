//! Page tokens: the first line is one, the lines after it say for which list.

use settlement_gateway::clock::Timestamp;
use settlement_gateway::grpc::settlement::page;
use settlement_gateway::settle::{AppId, OutOrderNo, StateKind, TradeSystem};
use settlement_gateway::store::{ListQuery, Position};

const STATES: [StateKind; 5] = [
    StateKind::Submitting,
    StateKind::Processing,
    StateKind::Succeeded,
    StateKind::Failed,
    StateKind::Rejected,
];

pub fn hold(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.split('\n');
    let token = lines.next().unwrap_or_default();
    let query = query(lines);
    let read = page::position(&query, token);
    if let Some(position) = read {
        assert_eq!(page::token(&query, position), token, "one place has one token");
    }
    let position = position(data);
    let made = page::token(&query, position);
    assert_eq!(page::position(&query, &made), Some(position));
    let other = ListQuery { app_id: AppId::parse("ttother").unwrap(), ..query };
    assert_eq!(page::position(&other, &made), None, "it is another list's");
    assert!(read.is_none() || page::position(&other, token).is_none(), "it is another list's");
}

/// App, order, from, until, a digit per state, and a trade system.
fn query<'a>(mut lines: impl Iterator<Item = &'a str>) -> ListQuery {
    let mut line = || lines.next().unwrap_or_default();
    let app_id = AppId::parse(line()).ok().filter(|app_id| app_id.as_str() != "ttother");
    let time = |text: &str| text.parse().ok().map(Timestamp::from_ms);
    ListQuery {
        app_id: app_id.unwrap_or_else(|| AppId::parse("ttfuzz").unwrap()),
        out_order_no: OutOrderNo::parse(line()).ok(),
        from: time(line()),
        until: time(line()),
        states: line().bytes().map(|byte| STATES[usize::from(byte) % STATES.len()]).collect(),
        trade_system: TradeSystem::parse(line()),
        after: None,
        settles_max: 50,
    }
}

/// Any place at all: the first sixteen bytes.
fn position(data: &[u8]) -> Position {
    let mut bytes = data.iter().copied().chain(std::iter::repeat(0));
    let mut number = || i64::from_be_bytes(std::array::from_fn(|_| bytes.next().unwrap()));
    Position { create_time: Timestamp::from_ms(number()), row: number() }
}
