//! Douyin in a run: the simulator's core on the world's time, and the link between it and the
//! gateways.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use douyin_sim::{
    Answer, AppKey, Core, ItemSetup, NumberCheck, OrderSetup, OrderStage, PlatformKey,
    Reply as Spoken, Request, Script, SimApp, SimConfig, Status,
};
use http::{HeaderValue, Method};
use settlement_gateway::douyin::{Call, Reply, SendError, Transport};
use settlement_gateway::http::callbacks::PATH;
use tokio::sync::oneshot;

use crate::faults::Fault;
use crate::mutations;
use crate::pace::Pace;
use crate::plan::Plan;
use crate::process::Process;
use crate::rules::Rule;
use crate::world::World;

/// When the world's time begins (unix, in milliseconds).
pub const BEGINS_MS: u64 = 1_700_000_000_000;
/// What one use of a card is worth. In fen.
pub const USE_FEN: i64 = 10_000;
const USES_MAX: u32 = 500;
/// A number that no table lists.
const UNLISTED: i64 = 987_654;

/// Douyin's side.
pub struct Douyin {
    pub core: Core,
    /// What was seen of each settle in the books, in their order.
    known: Vec<Status>,
    /// Nothing gets there.
    pub unreachable: bool,
    /// Uses made of each order's card.
    orders: Vec<(String, String, u32)>,
    /// Requests that wait for their answer, by process.
    pub in_flight: Vec<(String, usize)>,
    /// Of all processes together.
    pace: Pace,
    /// The tokens that Douyin gave, each with its app: not every request names the app.
    tokens: BTreeMap<String, String>,
    /// What was sent in each signed request first, for gateways that send it again.
    pub authorizations: BTreeMap<Bytes, HeaderValue>,
}

impl Douyin {
    pub fn new(plan: &Plan) -> Self {
        let url = |app: usize| {
            let url = format!("http://gateway.example{PATH}{}", app_id(app));
            plan.callbacks.then_some(url)
        };
        let apps = (0..plan.apps)
            .map(|app| SimApp { callback_url: url(app), ..SimApp::new(app_id(app), SECRET) });
        let mut config = SimConfig::loopback(plan.seed, apps.collect());
        config.choices = plan.choices.clone();
        config.processing_ms = 3_000;
        config.token_expires_in_s = plan.knobs.token_life.as_secs();
        config.faults_per_10_000 = plan.weather;
        config.late_ms_max = u64::try_from(plan.hidden_max.as_millis()).expect("minutes");
        let core = Core::new(&config);
        let (known, orders, in_flight) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            core,
            known,
            unreachable: false,
            orders,
            in_flight,
            pace: Pace::default(),
            tokens: BTreeMap::new(),
            authorizations: BTreeMap::new(),
        }
    }

    /// An order with one card, of which one use can be settled.
    pub fn add_order(&mut self, now_ms: u64, app_id: &str, out_order_no: &str, stage: OrderStage) {
        self.orders.push((app_id.to_owned(), out_order_no.to_owned(), 1));
        self.core.set_order(now_ms, app_id, out_order_no, order(stage, 1));
    }

    /// The order is paid, or its card is used once more: it has money again.
    pub fn refill(&mut self, now_ms: u64, out_order_no: &str) {
        let Some(known) = self.orders.iter_mut().find(|known| known.1 == out_order_no) else {
            return;
        };
        known.2 = (known.2 + 1).min(USES_MAX);
        let (app_id, uses) = (known.0.clone(), known.2);
        self.core.set_order(now_ms, &app_id, out_order_no, order(OrderStage::Paid, uses));
    }

    /// Whether Douyin takes what the gateways have: the app's secret, and the key that signs.
    pub fn set_credentials(&mut self, app_id: &str, are_good: bool) {
        let (secret, key) = match are_good {
            true => (SECRET, AppKey::sandbox()),
            false => ("another-secret", AppKey::from(&PlatformKey::sandbox())),
        };
        self.core.set_secret(app_id, secret);
        self.core.set_app_key(app_id, key, "1");
    }

    /// The app that a request shows to be of. `None`: a token is asked for.
    fn app_of(&self, call: &Call) -> Option<String> {
        let header = |name| call.headers.get(name).and_then(|value| value.to_str().ok());
        match (header("access-token"), header("byte-authorization")) {
            (Some(token), _) => Some(self.tokens.get(token).expect("Douyin gave it").clone()),
            (None, Some(signed)) => signed.split('"').nth(1).map(str::to_owned),
            (None, None) => Some(text_of(call, "app_id")).filter(|app_id| !app_id.is_empty()),
        }
    }

    /// What became of settles since this was asked last: their places in the books, and whether
    /// they are new.
    pub fn news(&mut self) -> Vec<(usize, bool)> {
        let mut news = Vec::new();
        for (index, settle) in self.core.settles().enumerate() {
            match self.known.get_mut(index) {
                None => {
                    self.known.push(settle.status);
                    news.push((index, true));
                }
                Some(known) if *known != settle.status => {
                    *known = settle.status;
                    news.push((index, false));
                }
                Some(_) => {}
            }
        }
        news
    }
}

pub const SECRET: &str = "the-client-secret-of-the-trial";

pub fn app_id(app: usize) -> String {
    format!("tttrial{app:09}")
}

fn order(stage: OrderStage, uses: u32) -> OrderSetup {
    let item = ItemSetup::card(ITEM, USE_FEN * i64::from(USES_MAX), uses, USES_MAX);
    OrderSetup {
        stage,
        total_fen: USE_FEN * i64::from(USES_MAX),
        items: Some(vec![item]),
        ..OrderSetup::default()
    }
}

/// The one item of every order.
pub const ITEM: &str = "card";

/// The link of one process to Douyin.
pub fn transport(world: &World, process: &Process) -> Transport {
    let (world, process) = (world.clone(), process.clone());
    Transport::InProcess(Arc::new(move |call| {
        let (world, process) = (world.clone(), process.name().to_owned());
        Box::pin(async move { request(world, process, call).await })
    }))
}

async fn request(world: World, process: String, call: Call) -> Result<Reply, SendError> {
    let name = named(&call);
    if world.douyin().unreachable || world.roll(Fault::Unreachable) {
        tokio::time::sleep(world.latency()).await;
        world.say(&process, || format!("cannot reach Douyin for {name}"));
        return Err(SendError::NotSent("connection refused".to_owned()));
    }
    world.say(&process, || format!("-> Douyin {name}"));
    let _in_flight = InFlight::new(&world, &process, &call);
    let (answer, answered) = oneshot::channel();
    tokio::spawn(travel(world.clone(), process.clone(), call, answer));
    let reply = answered.await.unwrap_or(Err(SendError::Lost("reset".to_owned())));
    world.say(&process, || match &reply {
        Ok(reply) => format!("<- Douyin {name}: {} {}", reply.status, shown(&reply.content)),
        Err(error) => format!("<- Douyin {name}: {error}"),
    });
    reply
}

/// The way to Douyin and back. It goes on even if the sender no longer waits.
async fn travel(
    world: World,
    process: String,
    call: Call,
    answer: oneshot::Sender<Result<Reply, SendError>>,
) {
    tokio::time::sleep(world.latency()).await;
    if world.roll(Fault::SendLate) {
        tokio::time::sleep(world.below_time(world.plan().late_max)).await;
    }
    if world.roll(Fault::SendLost) {
        world.say("link", || format!("loses {} of {process}", named(&call)));
        if world.coin() {
            // The connection just hangs.
            tokio::time::sleep(Duration::from_secs(3_600)).await;
        }
        return;
    }
    let reply = arrive_copied(&world, &call);
    let Some(reply) = outwait(&world, reply).await else { return };
    if world.roll(Fault::ReplyLost) {
        world.say("link", || format!("loses Douyin's answer to {}", named(&call)));
        return;
    }
    if world.roll(Fault::ReplyLate) {
        tokio::time::sleep(world.below_time(Duration::from_secs(20))).await;
    }
    tokio::time::sleep(world.latency()).await;
    let content = reply.body;
    remember_token(&world, &call, &content);
    let content = mutations::content(&world, &call, content);
    let content = match is_create(&call) && names_a_settle(&content) {
        true if world.roll(Fault::Nameless) => nameless(&content),
        true | false => content,
    };
    let cut = |content: &Bytes| content.slice(..world.below(content.len().max(1)));
    if world.roll(Fault::ReplyCut) {
        return;
    }
    let content = if world.roll(Fault::ReplyTruncated) { cut(&content) } else { content };
    let log_id_header = Some(reply.log_id);
    // The sender may be gone.
    let _ = answer.send(Ok(Reply { status: reply.status.as_u16(), log_id_header, content }));
}

/// A request comes in at Douyin, perhaps twice in a row. Then the answer is that of the copy which
/// was treated last: the gateway counts one answer for one send, so an answer that an effect of the
/// other copy makes false is beyond what the rules assume.
fn arrive_copied(world: &World, call: &Call) -> Spoken {
    if is_create(call) && world.plan().refilled && world.coin() {
        world.refill(&text_of(call, "out_order_no"));
    }
    let first = arrive(world, call);
    let repeats_are_told = world.plan().choices.number_check == NumberCheck::BeforeRules;
    if !repeats_are_told || !world.roll(Fault::SendCopied) {
        return first;
    }
    let second = arrive(world, call);
    match (&first, &second) {
        (Spoken::Wait { .. }, _) => first,
        (_, Spoken::Wait { .. }) => second,
        _ if world.coin() => first,
        _ => second,
    }
}

/// One copy of a request comes in at Douyin.
fn arrive(world: &World, call: &Call) -> Spoken {
    let mut body = call.body.clone();
    if is_create(call) {
        body = mutations::body(world, &body);
        let number = text_of(call, "out_settle_no");
        if world.roll(Fault::Unlisted) {
            let script = Script::Refuse(UNLISTED);
            let script = if world.coin() { Script::apply_then(script) } else { script };
            world.douyin().core.script_create(&number, script);
        }
        let app_id = world.douyin().app_of(call).expect("a create is no token call");
        let order = text_of(call, "out_order_no");
        world.checker().send_arrived(world, [&app_id, &number, &order], &body);
    }
    let request = Request {
        method: Method::POST,
        path: call.path.to_owned(),
        headers: mutations::headers(world, call),
        body,
    };
    let now_ms = world.now_ms();
    let reply = world.douyin().core.handle(now_ms, request);
    if !matches!(reply, Spoken::Answer(_)) {
        world.count(Fault::Weather);
    }
    world.say("Douyin", || format!("gets {}: {}", named(call), treated(&reply)));
    world.books_changed();
    reply
}

/// What takes time at Douyin. `None`: no answer will come.
async fn outwait(world: &World, mut reply: Spoken) -> Option<Answer> {
    loop {
        match reply {
            Spoken::Answer(answer) => return Some(answer),
            Spoken::Wait { delay_ms, then } => {
                tokio::time::sleep(Duration::from_millis(delay_ms)).await;
                let now_ms = world.now_ms();
                reply = world.douyin().core.resume(now_ms, *then);
                world.books_changed();
            }
            Spoken::Hang { .. } => {
                tokio::time::sleep(Duration::from_secs(3_600)).await;
                return None;
            }
            Spoken::Hold { .. } | Spoken::Drop | Spoken::CloseMid(_) => return None,
        }
    }
}

/// Counts a request for as long as its process waits for it.
struct InFlight {
    world: World,
    key: String,
}

impl InFlight {
    fn new(world: &World, process: &str, call: &Call) -> Self {
        let app_id = world.douyin().app_of(call);
        let app_id = app_id.as_deref().unwrap_or("token");
        let key = format!("{process} {app_id}");
        let now = {
            let mut douyin = world.douyin();
            if !douyin.in_flight.iter().any(|(known, _)| *known == key) {
                douyin.in_flight.push((key.clone(), 0));
            }
            let known = douyin.in_flight.iter_mut().find(|(known, _)| *known == key);
            let (_, count) = known.expect("it was entered just now");
            *count += 1;
            *count
        };
        let most = world.plan().knobs.budget.requests_in_flight;
        if app_id != "token" && now > usize::try_from(most.max(2)).expect("a small number") {
            world.violation(Rule::Limits, &format!("{now} requests of {key} in flight"));
        }
        let left = world.douyin().pace.leaves(world.plan(), app_id, world.elapsed());
        if let Some(left) = left.filter(|_| app_id != "token") {
            world.violation(Rule::Limits, &format!("{left} requests of {app_id} in a minute"));
        }
        Self { world: world.clone(), key }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut douyin = self.world.douyin();
        let known = douyin.in_flight.iter_mut().find(|(known, _)| *known == self.key);
        known.expect("it was entered when this was made").1 -= 1;
    }
}

fn is_create(call: &Call) -> bool {
    let path = call.path.trim_end_matches('/');
    ["/settle_create", "/create_settle", "/ecpay/v1/settle"].iter().any(|end| path.ends_with(end))
}

fn text_of(call: &Call, name: &str) -> String {
    let body: serde_json::Value = serde_json::from_slice(&call.body).unwrap_or_default();
    body[name].as_str().unwrap_or_default().to_owned()
}

fn names_a_settle(content: &Bytes) -> bool {
    let body: serde_json::Value = serde_json::from_slice(content).unwrap_or_default();
    body["data"]["settle_id"].is_string() || body["settle_no"].is_string()
}

/// An acceptance that does not say what it made.
fn nameless(content: &Bytes) -> Bytes {
    let mut body: serde_json::Value = serde_json::from_slice(content).unwrap_or_default();
    for path in ["/data/settle_id", "/settle_no"] {
        body.pointer_mut(path).map(serde_json::Value::take);
    }
    body.to_string().into()
}

fn remember_token(world: &World, call: &Call, content: &Bytes) {
    if !call.path.ends_with("/client_token/") {
        return;
    }
    let body: serde_json::Value = serde_json::from_slice(content).unwrap_or_default();
    if let Some(token) = body["data"]["access_token"].as_str() {
        let app_id = text_of(call, "client_key");
        world.douyin().tokens.insert(token.to_owned(), app_id);
    }
}

/// A request in few words.
fn named(call: &Call) -> String {
    let body: serde_json::Value = serde_json::from_slice(&call.body).unwrap_or_default();
    let last = call.path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let keys = ["out_settle_no", "settle_id", "order_id", "out_order_no"];
    let key = keys.iter().find_map(|key| body[key].as_str().filter(|text| !text.is_empty()));
    format!("{last} {}", key.unwrap_or("-"))
}

fn treated(reply: &Spoken) -> String {
    match reply {
        Spoken::Answer(answer) => format!("{} {}", answer.status, shown(&answer.body)),
        Spoken::Wait { delay_ms, .. } => format!("waits {delay_ms} ms"),
        Spoken::Hold { .. } => "holds".to_owned(),
        Spoken::Drop => "drops the connection".to_owned(),
        Spoken::CloseMid(answer) => format!("cuts off {}", shown(&answer.body)),
        Spoken::Hang { .. } => "hangs".to_owned(),
    }
}

fn shown(content: &Bytes) -> String {
    let text: String = String::from_utf8_lossy(content).chars().take(200).collect();
    text.replace('\n', " ")
}
