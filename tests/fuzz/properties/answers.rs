//! Douyin's answers: the first line says to which call and with which HTTP status, and perhaps a
//! log id; the rest is the body. `query:industry` is one of that trade system; without a name it is
//! played in the general one and in another.
//!
//! What the gateway makes of an answer is compared with a second reading, which knows only the
//! fields on which money depends.

use std::cell::RefCell;

use bytes::Bytes;
use serde_json::{Value, json};
use settlement_gateway::douyin::codes::{self, Handling};
use settlement_gateway::douyin::{CreateAnswer, QueryBy, Reply};
use settlement_gateway::grpc::rpc::Rpc;
use settlement_gateway::proto::v1;
use settlement_gateway::proto::v1::settlement_service_server::SettlementService as _;
use settlement_gateway::settle::{Answers, Failure, Learned, OutOrderNo, TradeSystem};
use tonic::Request;

use super::told::told_status;
use super::world::{CLIENT_SECRET, Douyin, Site, TOKEN, World};

thread_local! {
    static PLACE: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// What is kept of Douyin's texts.
const ERR_MSG_BYTES_MAX: usize = 512;
const LOG_ID_BYTES_MAX: usize = 128;

pub fn hold(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (head, body) = data.split_at(end);
    let body = body.get(1..).unwrap_or_default();
    let head = String::from_utf8_lossy(head);
    let mut words = head.split(' ');
    let (call, status) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (call, system) = call.split_once(':').unwrap_or((call, ""));
    let reply = Reply {
        status: status.parse().unwrap_or(200),
        log_id_header: words.next().map(str::to_owned),
        content: Bytes::copy_from_slice(body),
    };
    let drawn = TradeSystem::ALL[data.len() % TradeSystem::ALL.len()];
    let systems = match TradeSystem::parse(system) {
        Some(system) => vec![system],
        None if call == "token" => vec![TradeSystem::General],
        None => vec![TradeSystem::General, drawn],
    };
    PLACE.with_borrow_mut(|place| {
        if place.as_mut().is_none_or(World::is_worn) {
            *place = Some(World::new());
        }
        let Some(world) = place.as_mut() else { return };
        for system in systems {
            let said = Said::read(body, system);
            match (call, system) {
                ("token", _) => token(world, &reply, &said),
                ("amount", _) => amount(world, &reply, &said),
                // Douyin settles there by itself.
                ("query", _) | (_, TradeSystem::Agency) => query(world, &reply, &said),
                (_, _) => create(world, &reply, &said),
            }
        }
    });
}

fn create(world: &mut World, reply: &Reply, said: &Said) {
    let site = world.site(Douyin::of(Some(reply.clone()), None, None), &[said.system]);
    let answer = send(world, &site, said.system);
    match &answer.learned {
        Learned::Accepted(ids) => {
            assert!(said.is_success(), "{said:?}");
            assert!(said.ids().iter().any(|id| id == ids.settle_id.as_str()), "{said:?}");
        }
        Learned::Refused(failure) => {
            assert!(said.has(Handling::Refused) && !said.is_success(), "{said:?}");
            assert!(!said.names_a_settle(), "it contradicts itself: {said:?}");
            assert!(!said.is_unlisted(), "a number in no table refuses nothing: {said:?}");
            kept(failure);
        }
        Learned::Exists(failure) => {
            assert!(said.has(Handling::Exists) || said.is_success(), "{said:?}");
            kept(failure);
        }
        Learned::NotSent(failure) => {
            assert!(said.has(Handling::Reauthenticate), "it was sent: {said:?}");
            kept(failure);
        }
        Learned::Unknown(failure) | Learned::Unlisted(failure) => kept(failure),
        Learned::Reported(_)
        | Learned::Absent
        | Learned::Elsewhere
        | Learned::Resolved { .. }
        | Learned::Stopped { .. }
        | Learned::Ended(_) => {
            panic!("a create told {:?}", answer.learned)
        }
    }
    match (&answer.learned, answer.answers) {
        (Learned::Unknown(_) | Learned::Unlisted(_), answers) => {
            assert_eq!(answers, Answers::Nothing, "its send may still be on its way");
        }
        (Learned::Accepted(_) | Learned::Refused(_) | Learned::NotSent(_), answers) => {
            assert_eq!(answers, Answers::OneSend);
        }
        (_, answers) => {
            // The settle that exists may come from this very send, if it is named.
            let is_answer = !said.is_success() && !said.names_a_settle();
            assert_eq!(answers == Answers::OneSend, is_answer, "{said:?}");
        }
    }
    no_secret(&format!("{answer:?}"), reply, said.system);
    told(world, reply, said.system, &answer);
}

/// The same answer, as a caller meets it.
fn told(world: &mut World, reply: &Reply, system: TradeSystem, answer: &CreateAnswer) {
    let site = world.site(Douyin::of(Some(reply.clone()), None, None), &[system]);
    // A number is taken in all systems of an app.
    let number = format!("{}-{}", system.as_str(), world.next_number());
    let request = v1::CreateSettleRequest {
        out_order_no: "order".to_owned(),
        out_settle_no: number,
        settle_desc: "share".to_owned(),
        trade_system: named(system).into(),
        ..Default::default()
    };
    let answered = world.run(site.core.service.create_settle(Request::new(request)));
    match answered {
        Ok(answered) => {
            let settle = answered.into_inner().settle.expect("an answer has its settle");
            let accepted = matches!(answer.learned, Learned::Accepted(_));
            assert!(accepted, "{settle:?} after {answer:?}");
        }
        Err(status) => {
            let told = told_status(&status, Rpc::CreateSettle);
            if told.outcome() == "refused" {
                assert!(matches!(answer.learned, Learned::Refused(_)), "{answer:?}");
            }
            no_secret(&format!("{told:?}"), reply, system);
        }
    }
}

fn query(world: &mut World, reply: &Reply, said: &Said) {
    let site = world.site(Douyin::of(None, Some(reply.clone()), None), &[said.system]);
    // The question that QuerySettles asks below: an answer answers no other.
    let order = OutOrderNo::parse("order").unwrap();
    let by = QueryBy::OutOrderNo(&order);
    let asked = world.run(site.client.query(&site.access, said.system, by));
    let reports = match asked {
        Ok(answer) => {
            let found = answer.reports.len();
            match said.is_absent() {
                true => assert_eq!(found, 0, "{said:?}"),
                false => assert!(said.is_success(), "{said:?}"),
            }
            assert!(said.items().contains(&found), "no settle is left out: {found} {said:?}");
            Some(found)
        }
        Err(failed) => {
            kept(&failed.failure);
            no_secret(&format!("{failed:?}"), reply, said.system);
            None
        }
    };
    let key = v1::query_settles_request::Key::OutOrderNo("order".to_owned());
    let trade_system = named(said.system).into();
    let request = v1::QuerySettlesRequest { key: Some(key), trade_system, ..Default::default() };
    match world.run(site.core.service.query_settles(Request::new(request))) {
        Ok(answered) => {
            let shown = answered.into_inner().settles.len();
            assert!(reports.is_some_and(|reports| shown <= reports), "{shown} of {reports:?}");
        }
        Err(status) => {
            let told = told_status(&status, Rpc::QuerySettles);
            no_secret(&format!("{told:?}"), reply, said.system);
        }
    }
}

/// What is left of an order, which all systems ask as guaranteed payment does.
fn amount(world: &mut World, reply: &Reply, said: &Said) {
    let asking = [TradeSystem::Guaranteed];
    let site = world.site(Douyin::of(None, Some(reply.clone()), None), &asking);
    let order = OutOrderNo::parse("order").unwrap();
    let left = world.run(site.client.amount_left(&site.access, &order));
    match &left {
        Ok(left) => {
            assert!(said.is_success(), "{said:?}");
            let amounts = said.texts("unsettle_amount");
            let is_shown = amounts.iter().any(|text| text.trim().parse() == Ok(left.amount.get()));
            assert!(is_shown, "{left:?} {said:?}");
        }
        Err(failed) => {
            kept(&failed.failure);
        }
    }
    let request = v1::GetUnsettledAmountRequest {
        trade_system: v1::TradeSystem::Guaranteed.into(),
        out_order_no: "order".to_owned(),
        ..Default::default()
    };
    match world.run(site.core.service.get_unsettled_amount(Request::new(request))) {
        Ok(_) => assert!(left.is_ok(), "{left:?}"),
        Err(status) => {
            told_status(&status, Rpc::GetUnsettledAmount);
        }
    }
}

/// A token is fetched for the systems whose calls carry one.
fn token(world: &mut World, reply: &Reply, said: &Said) {
    world.save_token("");
    let asking = TradeSystem::General;
    let site = world.site(Douyin::of(None, None, Some(reply.clone())), &[asking]);
    let answer = send(world, &site, asking);
    match &answer.learned {
        Learned::Accepted(_) => {
            assert!(said.numbers.iter().all(|number| *number == 0), "{said:?}");
            assert!(text(&said.data, "access_token").is_some(), "{said:?}");
            assert_eq!(site.douyin.creates().len(), 1);
        }
        Learned::NotSent(failure) => {
            kept(failure);
            assert_eq!(site.douyin.creates().len(), 0, "not sent");
        }
        Learned::Refused(_)
        | Learned::Unknown(_)
        | Learned::Unlisted(_)
        | Learned::Exists(_)
        | Learned::Reported(_)
        | Learned::Absent
        | Learned::Elsewhere
        | Learned::Resolved { .. }
        | Learned::Stopped { .. }
        | Learned::Ended(_) => panic!("without a token nothing is sent: {answer:?}"),
    }
    no_secret(&format!("{answer:?}"), reply, asking);
    world.save_token(TOKEN);
}

fn send(world: &mut World, site: &Site, system: TradeSystem) -> CreateAnswer {
    let permitted = world.uptime();
    let answer = world.run(site.client.create(&site.access, system, "{}", permitted));
    let log_id = answer.log_id.as_deref().unwrap_or_default();
    assert!(log_id.len() <= LOG_ID_BYTES_MAX, "{log_id}");
    answer
}

/// What is kept of a failure is bounded.
fn kept(failure: &Failure) {
    let Some(said) = &failure.douyin else { return };
    assert!(said.err_msg.len() <= ERR_MSG_BYTES_MAX, "{}", said.err_msg);
    assert!(said.log_id.len() <= LOG_ID_BYTES_MAX, "{}", said.log_id);
}

/// Douyin may repeat what it was sent; no caller and no log may show it. A signed call carries
/// neither token nor secret.
fn no_secret(shown: &str, reply: &Reply, system: TradeSystem) {
    if matches!(system, TradeSystem::Industry | TradeSystem::Guaranteed) {
        return;
    }
    let log_id = reply.log_id_header.as_deref().unwrap_or_default();
    for secret in [TOKEN, CLIENT_SECRET].into_iter().filter(|secret| !log_id.contains(secret)) {
        assert!(!shown.contains(secret), "{shown}");
    }
}

/// As the contract names it.
fn named(system: TradeSystem) -> v1::TradeSystem {
    match system {
        TradeSystem::General => v1::TradeSystem::General,
        TradeSystem::SelfOperated => v1::TradeSystem::SelfOperated,
        TradeSystem::Industry => v1::TradeSystem::Industry,
        TradeSystem::Agency => v1::TradeSystem::Agency,
        TradeSystem::Guaranteed => v1::TradeSystem::Guaranteed,
    }
}

/// A second reading of an answer: all its numbers, wherever they are, and its data.
#[derive(Debug)]
struct Said {
    /// The one that was called.
    system: TradeSystem,
    /// Those that say whether it went well.
    numbers: Vec<i64>,
    /// Those below them.
    sub_numbers: Vec<i64>,
    data: Value,
    root: Value,
}

/// Each character that no JSON parser takes within a text becomes a question mark.
fn mended(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body));
    let chars: Vec<char> = text.chars().collect();
    let (mut mended, mut at, mut is_inside) = (String::new(), 0, false);
    while let Some(c) = chars.get(at) {
        let digits: String = chars.iter().skip(at + 2).take(4).collect();
        let is_unit = digits.len() == 4 && digits.chars().all(|c| c.is_ascii_hexdigit());
        let unit = is_unit.then(|| u32::from_str_radix(&digits, 16).unwrap());
        let (taken, is_good) = match (c, chars.get(at + 1), unit) {
            ('\\', Some('u'), Some(0xd800..=0xdfff)) if is_inside => (6, false),
            ('\\', Some('u'), Some(_)) if is_inside => (6, true),
            ('\\', Some(c), _) if is_inside && "\"\\/bfnrt".contains(*c) => (2, true),
            ('\\', _, _) if is_inside => (1, false),
            (c, _, _) => (1, !is_inside || *c >= ' '),
        };
        is_inside ^= *c == '"';
        match is_good {
            true => mended.extend(&chars[at..at + taken]),
            false => mended.push('?'),
        }
        at += taken;
    }
    mended
}

impl Said {
    fn read(body: &[u8], system: TradeSystem) -> Self {
        let root: Value = serde_json::from_str(&mended(body)).unwrap_or_default();
        let number = |pointer: &&str| {
            let value = root.pointer(pointer)?;
            value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())
        };
        let places = [
            "/err_no",
            "/error_no",
            "/error",
            "/error_code",
            "/data/error_code",
            "/data/err_no",
            "/extra/error_code",
            "/extra/err_no",
        ];
        let below = ["/data/sub_error_code", "/extra/sub_error_code"];
        Self {
            system,
            numbers: places.iter().filter_map(number).collect(),
            sub_numbers: below.iter().filter_map(number).filter(|number| *number != 0).collect(),
            data: root.get("data").cloned().unwrap_or_default(),
            root,
        }
    }

    /// The id of a settle is somewhere, and is neither empty nor zero.
    fn names_a_settle(&self) -> bool {
        let nothing = [json!(null), json!(false), json!([]), json!({})];
        let is_something = |value: &Value| match value {
            Value::String(text) => text.trim().chars().any(|c| c != '0'),
            Value::Number(number) => number.as_f64() != Some(0.0),
            value @ (Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) => {
                !nothing.contains(value)
            }
        };
        let is_named = |object: &Value| {
            let names = ["settle_id", "settle_no"].into_iter();
            names.filter_map(|name| object.get(name)).any(is_something)
        };
        let items = self.data.as_array().into_iter().flatten();
        let flat = self.root.get("settle_info");
        items.chain(flat).chain([&self.root, &self.data]).any(is_named)
    }

    fn is_success(&self) -> bool {
        let mut all = self.numbers.iter().chain(&self.sub_numbers);
        !self.numbers.is_empty() && all.all(|number| *number == 0)
    }

    /// Guaranteed payment says by a number that there is no such settle.
    fn is_absent(&self) -> bool {
        self.system == TradeSystem::Guaranteed && self.numbers.contains(&2_000)
    }

    /// How many settles it may show. In guaranteed payment they stand beside the number, and one by
    /// one, as what Douyin settled of an order by itself, or not at all.
    fn items(&self) -> Vec<usize> {
        if self.system != TradeSystem::Guaranteed {
            let one = usize::from(self.data.is_object());
            return vec![self.data.as_array().map_or(one, Vec::len)];
        }
        let of_order = |place: &Value| {
            let list = place.get("platform_order")?.get("settle_info_list")?;
            list.as_array().map(Vec::len)
        };
        let one = |place: &Value| place.get("settle_info")?.as_object().map(|_| 1);
        let places = [&self.root, &self.data].into_iter();
        let none = self.is_absent().then_some(0);
        places.flat_map(|place| [of_order(place), one(place)]).chain([none]).flatten().collect()
    }

    fn rows(&self) -> impl Iterator<Item = &'static codes::Row> {
        let all = self.numbers.iter().chain(&self.sub_numbers);
        all.filter_map(|number| codes::row(Some(self.system), i32::try_from(*number).ok()?))
    }

    /// One of its numbers is handled so.
    fn has(&self, handling: Handling) -> bool {
        self.rows().any(|row| row.handling == handling)
    }

    /// No table lists any of its numbers.
    fn is_unlisted(&self) -> bool {
        self.rows().next().is_none()
    }

    /// What an acceptance may name the settle.
    fn ids(&self) -> Vec<String> {
        match self.system {
            TradeSystem::Guaranteed => self.texts("settle_no"),
            TradeSystem::General
            | TradeSystem::SelfOperated
            | TradeSystem::Industry
            | TradeSystem::Agency => text(&self.data, "settle_id").into_iter().collect(),
        }
    }

    /// What a field says, in the data and beside it.
    fn texts(&self, name: &str) -> Vec<String> {
        [&self.root, &self.data].into_iter().filter_map(|place| text(place, name)).collect()
    }
}

fn text(place: &Value, name: &str) -> Option<String> {
    let value = place.get(name)?;
    let number = value.as_number().map(ToString::to_string);
    value.as_str().map(str::to_owned).or(number)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// So that inputs are made out of each.
    #[test]
    fn answers_to_each_call_of_each_system_are_held() {
        let mut held = BTreeSet::new();
        for (_, input) in super::super::corpus("answers") {
            let head = String::from_utf8_lossy(&input);
            held.insert(head.split([' ', '\n']).next().unwrap_or_default().to_owned());
        }
        for system in TradeSystem::ALL.map(TradeSystem::as_str) {
            for call in ["create", "query", "amount"] {
                let head = format!("{call}:{system}");
                let has_none = (call == "create" && system == "agency")
                    || (call == "amount" && system != "guaranteed");
                assert_eq!(held.contains(&head), !has_none, "{head}");
            }
        }
    }
}
