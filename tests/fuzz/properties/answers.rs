//! Douyin's answers: the first line says to which call and with which HTTP status, and perhaps a
//! log id; the rest is the body.
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
    let reply = Reply {
        status: status.parse().unwrap_or(200),
        log_id_header: words.next().map(str::to_owned),
        content: Bytes::copy_from_slice(body),
    };
    PLACE.with_borrow_mut(|place| {
        if place.as_mut().is_none_or(World::is_worn) {
            *place = Some(World::new());
        }
        let Some(world) = place.as_mut() else { return };
        let said = Said::read(body);
        match call {
            "query" => query(world, &reply, &said),
            "token" => token(world, &reply, &said),
            _ => create(world, &reply, &said),
        }
    });
}

fn create(world: &mut World, reply: &Reply, said: &Said) {
    let site = world.site(Douyin::of(Some(reply.clone()), None, None));
    let answer = send(world, &site);
    match &answer.learned {
        Learned::Accepted(ids) => {
            assert!(said.is_success(), "{said:?}");
            assert_eq!(said.text("settle_id").as_deref(), Some(ids.settle_id.as_str()));
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
    no_secret(&format!("{answer:?}"), reply);
    told(world, reply, &answer);
}

/// The same answer, as a caller meets it.
fn told(world: &mut World, reply: &Reply, answer: &CreateAnswer) {
    let site = world.site(Douyin::of(Some(reply.clone()), None, None));
    let number = format!("n{}", world.next_number());
    let request = v1::CreateSettleRequest {
        out_order_no: "order".to_owned(),
        out_settle_no: number,
        settle_desc: "share".to_owned(),
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
            no_secret(&format!("{told:?}"), reply);
        }
    }
}

fn query(world: &mut World, reply: &Reply, said: &Said) {
    let site = world.site(Douyin::of(None, Some(reply.clone()), None));
    // The question that QuerySettles asks below: an answer answers no other.
    let order = OutOrderNo::parse("order").unwrap();
    let (general, by) = (TradeSystem::General, QueryBy::OutOrderNo(&order));
    let asked = world.run(site.client.query(&site.access, general, by));
    let reports = match asked {
        Ok(answer) => {
            assert!(said.is_success(), "{said:?}");
            let one = usize::from(said.data.is_object());
            let items = said.data.as_array().map_or(one, Vec::len);
            assert!(said.data.is_array() || said.data.is_object(), "{said:?}");
            assert_eq!(answer.reports.len(), items, "no settle is left out");
            Some(items)
        }
        Err(failed) => {
            kept(&failed.failure);
            no_secret(&format!("{failed:?}"), reply);
            None
        }
    };
    let key = v1::query_settles_request::Key::OutOrderNo("order".to_owned());
    let request = v1::QuerySettlesRequest { key: Some(key), ..Default::default() };
    match world.run(site.core.service.query_settles(Request::new(request))) {
        Ok(answered) => {
            let shown = answered.into_inner().settles.len();
            assert!(reports.is_some_and(|reports| shown <= reports), "{shown} of {reports:?}");
        }
        Err(status) => {
            let told = told_status(&status, Rpc::QuerySettles);
            no_secret(&format!("{told:?}"), reply);
        }
    }
}

fn token(world: &mut World, reply: &Reply, said: &Said) {
    world.save_token("");
    let site = world.site(Douyin::of(None, None, Some(reply.clone())));
    let answer = send(world, &site);
    match &answer.learned {
        Learned::Accepted(_) => {
            assert!(said.numbers.iter().all(|number| *number == 0), "{said:?}");
            assert!(said.text("access_token").is_some(), "{said:?}");
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
    no_secret(&format!("{answer:?}"), reply);
    world.save_token(TOKEN);
}

fn send(world: &mut World, site: &Site) -> CreateAnswer {
    let (general, permitted) = (TradeSystem::General, world.uptime());
    let answer = world.run(site.client.create(&site.access, general, "{}", permitted));
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

/// Douyin may repeat what it was sent; no caller and no log may show it.
fn no_secret(shown: &str, reply: &Reply) {
    let log_id = reply.log_id_header.as_deref().unwrap_or_default();
    for secret in [TOKEN, CLIENT_SECRET].into_iter().filter(|secret| !log_id.contains(secret)) {
        assert!(!shown.contains(secret), "{shown}");
    }
}

/// A second reading of an answer: all its numbers, wherever they are, and its data.
#[derive(Debug)]
struct Said {
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
    fn read(body: &[u8]) -> Self {
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

    fn rows(&self) -> impl Iterator<Item = &'static codes::Row> {
        let all = self.numbers.iter().chain(&self.sub_numbers);
        all.filter_map(|number| {
            codes::row(Some(TradeSystem::General), i32::try_from(*number).ok()?)
        })
    }

    /// One of its numbers is handled so.
    fn has(&self, handling: Handling) -> bool {
        self.rows().any(|row| row.handling == handling)
    }

    /// No table lists any of its numbers.
    fn is_unlisted(&self) -> bool {
        self.rows().next().is_none()
    }

    fn text(&self, name: &str) -> Option<String> {
        let value = self.data.get(name)?;
        let number = value.as_number().map(ToString::to_string);
        value.as_str().map(str::to_owned).or(number)
    }
}
