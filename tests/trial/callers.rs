//! Callers who obey the contract: each pays an intent once, whatever it hears.
//!
//! On `not_sent`, `unknown` and silence they come back with the same number, or watch it. They take
//! another number after `refused`, REJECTED, or FAILED without a dispute, and only then.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use douyin_sim::OrderStage;
use settlement_gateway::proto::v1;
use settlement_gateway::proto::v1::watch_settle_response::Event;
use settlement_gateway::proto::v1::{ReturnWhen, SettleOrigin, SettleState};
use tokio::task::JoinHandle;

use crate::audit;
use crate::checker::{Intent, undecidable};
use crate::douyin::{BEGINS_MS, ITEM, app_id};
use crate::faults::Fault;
use crate::link::{self, Heard};
use crate::mutations::{Broken, is_final};
use crate::operator;
use crate::rules::Rule;
use crate::systems::{GUARANTEED, Known};
use crate::world::World;

pub use audit::audit;

/// The nth number of an intent.
pub fn number(intent: usize, nth: usize) -> String {
    format!("s{intent}-{nth}")
}

/// One caller, perhaps several workers that share what it has written down.
struct Caller {
    name: String,
    intent: usize,
    system: Known,
    request: v1::CreateSettleRequest,
    /// What the caller keeps durably.
    notes: Mutex<Notes>,
}

struct Notes {
    /// How many numbers it has taken; the last one is in use.
    nth: usize,
    number: String,
    over: bool,
}

/// What an answer means for the number that it is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    /// Come back with the same number.
    Same,
    /// A person has to say what is true.
    Disputed,
    /// Another number is permitted.
    Another,
    /// The intent is paid.
    Paid,
}

/// Numbers that a caller tries for one intent before it gives up.
const NUMBERS_MAX: usize = 4;

/// Starts all callers; each ends when its intent does.
pub fn begin(world: &World) -> Vec<JoinHandle<()>> {
    let mut tasks = Vec::new();
    for intent in 0..world.plan().intents {
        let app_id = app_id(world.below(world.plan().apps));
        let out_order_no = format!("sim-hold-o{intent}");
        let ext = (world.below(4) == 0).then(|| format!("ext of {intent}"));
        let paid = world.below(5) != 0 && world.plan().broken != Some(Broken::SilentRestore);
        let stage = if paid { OrderStage::Paid } else { OrderStage::Unpaid };
        let now_ms = world.now_ms();
        world.douyin().add_order(now_ms, &app_id, &out_order_no, stage);
        if !paid {
            let wait = world.below_time(world.plan().storm);
            tokio::spawn(pay(world.clone(), out_order_no.clone(), wait));
        }
        let system = world.plan().system_of(intent);
        let facts = Intent {
            app_id: app_id.clone(),
            system,
            out_order_no: out_order_no.clone(),
            ext: ext.clone(),
            taken_back: false,
        };
        world.checker().add_intent(facts);
        let collides = intent > 0 && world.roll(Fault::Collision);
        let first = if collides { number(intent - 1, 0) } else { number(intent, 0) };
        let request = v1::CreateSettleRequest {
            app_id,
            trade_system: system.asked(),
            out_order_no,
            settle_desc: format!("intent {intent}"),
            settle_params: vec![v1::SettleParam {
                merchant_uid: "7278924576854329635".to_owned(),
                amount_fen: 120,
            }],
            // Guaranteed payment settles no items.
            item_order_id: match world.below(4) == 0 && system != GUARANTEED {
                true => ITEM.to_owned(),
                false => String::new(),
            },
            ext: ext.unwrap_or_default(),
            ..Default::default()
        };
        let notes = Notes { nth: 0, number: first, over: false };
        let name = format!("c{intent}");
        let caller = Arc::new(Caller { name, intent, system, request, notes: notes.into() });
        let workers = if world.below(3) == 0 { 2 } else { 1 };
        let begins = world.below_time(world.plan().storm / 2);
        for _ in 0..workers {
            tasks.push(tokio::spawn(work(world.clone(), Arc::clone(&caller), begins)));
        }
    }
    tasks.push(tokio::spawn(audit::curious(world.clone())));
    for nth in 0..world.plan().operators {
        tasks.push(tokio::spawn(operator::work(world.clone(), format!("operator {nth}"))));
    }
    tasks
}

async fn pay(world: World, out_order_no: String, wait: Duration) {
    tokio::time::sleep(wait).await;
    world.refill(&out_order_no);
}

/// One worker, until the intent is over.
async fn work(world: World, caller: Arc<Caller>, begins: Duration) {
    tokio::time::sleep(begins).await;
    let mut first = true;
    let mut rest = Duration::from_millis(200);
    loop {
        let number = {
            let notes = caller.notes();
            if notes.over {
                world.say(&caller.name, || "is done".to_owned());
                return;
            }
            notes.number.clone()
        };
        let verdict = match world.below(10) {
            _ if first => create(&world, &caller, &number).await,
            0..=3 => create(&world, &caller, &number).await,
            4..=6 => watch(&world, &caller, &number).await,
            7 | 8 => wait(&world, &caller, &number).await,
            _ => get(&world, &caller, &number).await,
        };
        first = false;
        caller.conclude(&world, &number, verdict);
        if given_up(&world, &caller, &number) {
            caller.notes().over = true;
        }
        tokio::time::sleep(rest / 2 + world.below_time(rest)).await;
        let longest = Duration::from_secs(if world.is_calm() { 300 } else { 20 });
        rest = (rest * 2).min(longest);
    }
}

/// Whether only an operator can help.
fn given_up(world: &World, caller: &Caller, number: &str) -> bool {
    let hopeless = Duration::from_secs(6 * 3_600);
    let settle = v1::Settle {
        app_id: caller.request.app_id.clone(),
        trade_system: caller.system.told.into(),
        out_settle_no: number.to_owned(),
        ..Default::default()
    };
    world.calm_for().is_some_and(|calm| calm > hopeless) && undecidable(world, &settle)
}

impl Caller {
    fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.notes.lock().expect("no code panics while holding this lock")
    }

    fn conclude(&self, world: &World, number: &str, verdict: Verdict) {
        let mut notes = self.notes();
        // Another worker may have gone on meanwhile.
        if notes.over || notes.number != number {
            return;
        }
        match verdict {
            Verdict::Same => {}
            // It comes back until faults are over; after that only an operator can help.
            Verdict::Disputed => notes.over = world.is_calm(),
            Verdict::Paid => {
                notes.over = true;
                world.say(&self.name, || format!("is paid by {number}"));
            }
            Verdict::Another if notes.nth + 1 >= NUMBERS_MAX => {
                notes.over = true;
                world.say(&self.name, || format!("gives up after {number}"));
            }
            Verdict::Another => {
                notes.nth += 1;
                notes.number = self::number(self.intent, notes.nth);
                let next = notes.number.clone();
                world.say(&self.name, || format!("takes {next} after {number}"));
            }
        }
    }

    /// A settle as it was told, in an answer to a call that began at `begun`.
    fn saw(&self, world: &World, begun: Duration, settle: &v1::Settle) {
        world.checker().saw(world, [begun, begun], settle);
    }

    /// What the state of a settle permits.
    fn judge(&self, world: &World, settle: &v1::Settle, created: bool) -> Verdict {
        // Only the answer to a create tells whether a settle of the platform is this caller's.
        let ours = created || settle.origin() == SettleOrigin::Gateway;
        if settle.contradiction.is_some() {
            return Verdict::Disputed;
        }
        if !ours {
            return Verdict::Same;
        }
        world.books_changed();
        // Two intents may have met under one number.
        let mine = created || settle.out_order_no() == self.request.out_order_no;
        let names = (settle.out_settle_no.as_str(), self.request.out_order_no.as_str());
        match settle.state() {
            SettleState::Succeeded if mine => {
                world.checker().paid(world, &self.request, settle);
                Verdict::Paid
            }
            SettleState::Failed if mine => {
                world.checker().freed(world, names, "FAILED");
                Verdict::Another
            }
            SettleState::Rejected if mine => {
                world.checker().freed(world, names, "REJECTED");
                Verdict::Another
            }
            SettleState::Unspecified
            | SettleState::Submitting
            | SettleState::Processing
            | SettleState::Succeeded
            | SettleState::Failed
            | SettleState::Rejected => Verdict::Same,
        }
    }
}

async fn create(world: &World, caller: &Caller, number: &str) -> Verdict {
    let mut request = caller.request.clone();
    request.out_settle_no = number.to_owned();
    let when =
        [ReturnWhen::Unspecified, ReturnWhen::Accepted, ReturnWhen::Recorded, ReturnWhen::Final];
    request.return_when = when[world.below(4)].into();
    // A bound that fits the gateways' clock, which may be off.
    if world.below(4) == 0 && !world.is_calm() {
        let grace = world.plan().knobs.policy.grace;
        let window = grace + Duration::from_secs(1) + world.below_time(Duration::from_secs(3_600));
        request.submit_before = Some(time(world.elapsed() + window));
    }
    let begun = world.elapsed();
    match link::call(world, &caller.name, request, patience(world)).await {
        Heard::Answer(answer) => {
            let settle = answer.settle.expect("a create is answered with a settle");
            caller.saw(world, begun, &settle);
            let verdict = caller.judge(world, &settle, true);
            // One that is not accepted yet may turn out to be a stranger's, and frees its number.
            let is_submitting = settle.state() == SettleState::Submitting;
            if settle.origin() == SettleOrigin::Gateway && !is_submitting {
                repeat_elsewhere(world, caller, number).await;
            }
            verdict
        }
        Heard::Error(status) => {
            let Some((reason, outcome)) = link::metadata(&status) else {
                world.violation(Rule::OutcomeTold, &format!("{status:?}"));
                return Verdict::Same;
            };
            match (outcome.as_deref(), reason.as_str()) {
                (Some("refused"), _) => Verdict::Another,
                // The number serves another intent, so this one gets a number of its own.
                (_, "OUT_SETTLE_NO_CONFLICT") => Verdict::Another,
                (Some("not_sent" | "unknown"), _) => Verdict::Same,
                (other, _) => {
                    world.violation(Rule::OutcomeTold, &format!("{other:?} {status:?}"));
                    Verdict::Same
                }
            }
        }
        Heard::Nothing => Verdict::Same,
    }
}

/// A caller whose configuration was changed repeats a create in another trade system.
async fn repeat_elsewhere(world: &World, caller: &Caller, number: &str) {
    let fits = |known: &&Known| {
        let has_items = !caller.request.item_order_id.is_empty();
        **known != caller.system && !(**known == GUARANTEED && has_items)
    };
    let Some(other) = world.plan().systems.iter().find(fits) else { return };
    if !world.roll(Fault::Moved) {
        return;
    }
    let request = v1::CreateSettleRequest {
        trade_system: other.asked(),
        out_settle_no: number.to_owned(),
        ..caller.request.clone()
    };
    if let Heard::Answer(answer) = link::call(world, &caller.name, request, patience(world)).await {
        let taken = link::settle(answer.settle.as_ref());
        let what = format!("{number} is taken in {:?}, too: {taken}", other.there);
        world.violation(Rule::OneContent, &what);
    }
}

async fn wait(world: &World, caller: &Caller, number: &str) -> Verdict {
    let request = v1::WaitSettleRequest {
        app_id: caller.request.app_id.clone(),
        trade_system: caller.system.asked(),
        key: Some(v1::wait_settle_request::Key::OutSettleNo(number.to_owned())),
        after_revision: i64::try_from(world.below(3)).expect("a small number"),
    };
    let begun = world.elapsed();
    match link::call(world, &caller.name, request, patience(world)).await {
        Heard::Answer(answer) => {
            let settle = answer.settle.expect("a wait is answered with a settle");
            caller.saw(world, begun, &settle);
            caller.judge(world, &settle, false)
        }
        Heard::Error(_) | Heard::Nothing => Verdict::Same,
    }
}

async fn get(world: &World, caller: &Caller, number: &str) -> Verdict {
    let request = v1::GetSettleRequest {
        app_id: caller.request.app_id.clone(),
        trade_system: caller.system.asked(),
        key: Some(v1::get_settle_request::Key::OutSettleNo(number.to_owned())),
        refresh: world.coin(),
        include_history: world.coin(),
    };
    let begun = world.elapsed();
    match link::call(world, &caller.name, request, patience(world)).await {
        Heard::Answer(answer) => {
            let settle = answer.settle.expect("a get is answered with a settle");
            caller.saw(world, begun, &settle);
            caller.judge(world, &settle, false)
        }
        Heard::Error(_) | Heard::Nothing => Verdict::Same,
    }
}

/// Follows a settle for a while, through several streams.
async fn watch(world: &World, caller: &Caller, number: &str) -> Verdict {
    let mut told = Told::default();
    let mut rest = Duration::from_millis(500);
    let until = world.elapsed() + world.below_time(Duration::from_secs(900));
    while world.elapsed() < until {
        let (ending, verdict) = one_stream(world, caller, number, &mut told).await;
        if verdict != Verdict::Same || ending == StreamEnd::Hopeless {
            return verdict;
        }
        tokio::time::sleep(rest / 2 + world.below_time(rest)).await;
        rest = (rest * 2).min(Duration::from_secs(60));
    }
    Verdict::Same
}

/// What a watcher was told last.
#[derive(Clone, Copy, Default, Debug)]
struct Told {
    revision: i64,
    /// The last heartbeat that knew of nothing newer.
    beat: Option<Duration>,
}

impl Told {
    /// A newer revision is no older than what a gateway may miss for a while: a hint, which the
    /// next look at the store makes up for.
    fn news(&self, world: &World, settle: &v1::Settle) {
        let knobs = &world.plan().knobs;
        let late = knobs.resync + knobs.heartbeat + Duration::from_secs(20);
        // Stalls, pauses and slow readers from before are over by then.
        let settled = world.plan().storm + Duration::from_secs(180);
        let Some(changed) = world.checker().changed_at(settle) else { return };
        if changed > settled && self.beat.is_some_and(|beat| beat > changed + late) {
            let (number, revision, beat) = (&settle.out_settle_no, settle.revision, self.beat);
            let what =
                format!("{number} r{revision} of {changed:?}, a heartbeat before it {beat:?}");
            world.violation(Rule::NewsCome, &what);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum StreamEnd {
    Final,
    Again,
    /// There is no such settle now.
    Hopeless,
}

async fn one_stream(
    world: &World,
    caller: &Caller,
    number: &str,
    told: &mut Told,
) -> (StreamEnd, Verdict) {
    let heartbeat = world.plan().knobs.heartbeat;
    let request = v1::WatchSettleRequest {
        app_id: caller.request.app_id.clone(),
        trade_system: caller.system.asked(),
        key: Some(v1::watch_settle_request::Key::OutSettleNo(number.to_owned())),
        after_revision: told.revision,
        heartbeat_interval: Some(prost_types::Duration {
            seconds: i64::try_from(heartbeat.as_secs()).expect("a minute"),
            nanos: 0,
        }),
    };
    let begun = world.elapsed();
    world.say(&caller.name, || format!("watches {number} after r{}", told.revision));
    let mut stream = link::stream(world, request, stamina(world));
    let mut verdict = Verdict::Same;
    let (mut first, mut ended) = (true, false);
    loop {
        // Stalls and slow links on the way: a gateway that says nothing for so long says nothing.
        let silence = heartbeat * 2 + Duration::from_secs(120);
        let message = match tokio::time::timeout(silence, stream.recv()).await {
            Ok(message) => message,
            Err(_) => {
                world.say(&caller.name, || format!("hears nothing more of {number}"));
                if world.calm_for().is_some_and(|calm| calm > silence) {
                    world.violation(Rule::HeartbeatsCome, &format!("silence about {number}"));
                }
                return (StreamEnd::Again, verdict);
            }
        };
        match message {
            // The connection is gone.
            None => return (StreamEnd::Again, verdict),
            Some(None) => {
                if !ended {
                    let what = format!("the stream of {number} ended well without the end");
                    world.violation(Rule::EndSeen, &what);
                }
                return (StreamEnd::Final, verdict);
            }
            Some(Some(Err(status))) => {
                let reason = link::metadata(&status).map(|(reason, _)| reason);
                world.say(&caller.name, || format!("{number}: stream ends: {reason:?}"));
                let unknown = reason.as_deref() == Some("SETTLE_NOT_FOUND");
                if reason.as_deref() == Some("REVISION_FROM_FUTURE") {
                    if !world.checker().went_back() {
                        let last = told.revision;
                        let what = format!("{number}: the gateway does not know r{last} any more");
                        world.violation(Rule::ToldLasts, &what);
                    }
                    *told = Told::default();
                }
                return (if unknown { StreamEnd::Hopeless } else { StreamEnd::Again }, verdict);
            }
            Some(Some(Ok(message))) => match message.event {
                Some(Event::Settle(settle)) => {
                    world.say(&caller.name, || format!("sees {}", link::settle(Some(&settle))));
                    let (revision, last) = (settle.revision, told.revision);
                    let newer =
                        revision > last || (revision == last && is_final(settle.state()) && !ended);
                    if !newer || ended {
                        let what = format!("{number} r{revision} after r{last}");
                        world.violation(Rule::RevisionsGrow, &what);
                    }
                    told.news(world, &settle);
                    *told = Told { revision, beat: None };
                    ended = is_final(settle.state());
                    // The first one was read after the stream was opened; of those that follow it
                    // is promised only that each is newer than the one before.
                    let read_since = if first { begun } else { Duration::ZERO };
                    world.checker().saw(world, [begun, read_since], &settle);
                    verdict = caller.judge(world, &settle, false);
                }
                Some(Event::Heartbeat(beat)) => {
                    if beat.revision != told.revision {
                        let what = format!("{number}: a heartbeat at r{}", beat.revision);
                        world.violation(Rule::RevisionsGrow, &what);
                    }
                    if first {
                        let place = (caller.request.app_id.as_str(), caller.system, number);
                        world.checker().caught_up(world, begun, place, beat.revision);
                    }
                    told.beat = Some(world.elapsed());
                }
                None => world.violation(Rule::RevisionsGrow, "a message that brings nothing"),
            },
        }
        first = false;
        if world.roll(Fault::SlowReader) {
            tokio::time::sleep(world.below_time(Duration::from_secs(60))).await;
        }
        // Some callers know enough and leave; the promise is kept for those who stay.
        if ended && world.below(4) == 0 {
            return (StreamEnd::Final, verdict);
        }
    }
}

/// How long a caller waits for an answer.
fn patience(world: &World) -> Duration {
    Duration::from_millis([200, 2_000, 10_000, 60_000][world.below(4)])
}

/// How long a watcher wants a stream to last.
fn stamina(world: &World) -> Duration {
    Duration::from_secs([1, 10, 60, 1_800][world.below(4)])
}

/// A moment of the world as the contract writes it.
fn time(at: Duration) -> prost_types::Timestamp {
    let begins = i64::try_from(BEGINS_MS / 1_000).expect("this century");
    prost_types::Timestamp {
        seconds: begins + i64::try_from(at.as_secs()).expect("days"),
        nanos: 0,
    }
}
