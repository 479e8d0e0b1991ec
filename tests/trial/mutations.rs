//! Rules broken on purpose, to see that the checker notices. Each is what a broken gateway, store
//! or disk would do, played around the real gateway. None of it is in the product.

use std::time::Duration;

use bytes::Bytes;
use douyin_sim::{NumberCheck, NumberFate};
use http::HeaderMap;
use settlement_gateway::apps::Budget;
use settlement_gateway::douyin::Call;
use settlement_gateway::proto::v1;
use settlement_gateway::proto::v1::watch_settle_response::Event;
use tonic::Status;

use crate::faults::Fault;
use crate::link::{Message, outcome};
use crate::plan::{Act, Plan};
use crate::process::Process;
use crate::rules::Rule;
use crate::systems::{GENERAL, INDUSTRY, SELF_OPERATED};
use crate::world::World;

/// One rule broken on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    /// An empty query is believed at once: the knob of the grace is 0.
    NoGrace,
    /// "Unknown" is told as "refused".
    UnknownIsRefused,
    /// "Unknown" is told as "not sent".
    UnknownIsNotSent,
    /// A create that was not recorded is answered with OK.
    OkForNothing,
    /// A repeated send carries another amount.
    OtherContent,
    /// A crash takes the last commits with it.
    ForgetfulDisk,
    /// No poller drives what is due.
    NoPoller,
    /// A stream repeats its messages.
    StreamRepeats,
    /// A stream ends well without the final state.
    StreamEndsEarly,
    /// A stream shows a state that nothing recorded.
    StreamInvents,
    /// A create is answered without saying what became of the money.
    NoOutcome,
    /// Heartbeats are dropped.
    StreamsFallSilent,
    /// Streams do not look at the store by themselves, and hints are lost: what another replica
    /// learns is not told.
    NoResync,
    /// PROCESSING is told as FAILED now and then.
    ProcessingIsFailed,
    /// The schedule of a settle is lost from the store.
    LostSchedule,
    /// A final state is told as another one now and then.
    FinalChanges,
    /// The gateway has more requests at Douyin than its budget grants.
    OverBudget,
    /// Streams leave a task behind.
    LeakyStreams,
    /// Callbacks are acknowledged and forgotten.
    ForgottenCallbacks,
    /// A task panics.
    Panics,
    /// All processes have one name: each takes another one's clock for its own.
    OneName,
    /// No operator says that the database is a backup.
    SilentRestore,
    /// Operators end what Douyin does not answer about, and ask no person there.
    BlindOperator,
    /// One of several gateways writes what it had read, and does not compare versions.
    BlindReplica,
    /// The lease of a gateway that died never ends.
    EndlessLeases,
    /// Each of several gateways takes the whole budget for its own.
    WholeBudgets,
    /// A request that is sent again has the signature of the first time, with its time.
    OldSignatures,
    /// An answer to a query in one system is read as if another system had nothing to show.
    MixedSystems,
    /// A repeat in another trade system is taken for a new create.
    SentAnew,
}

impl Broken {
    /// Each, with the rule that must be seen broken.
    pub const ALL: &'static [(Broken, Rule)] = &[
        (Broken::NoGrace, Rule::PaidOnce),
        (Broken::UnknownIsRefused, Rule::RefusedStays),
        (Broken::UnknownIsNotSent, Rule::NotSentStays),
        (Broken::OkForNothing, Rule::ToldExists),
        (Broken::NoOutcome, Rule::OutcomeTold),
        (Broken::OtherContent, Rule::OneContent),
        (Broken::ForgetfulDisk, Rule::ToldLasts),
        (Broken::NoPoller, Rule::Ends),
        (Broken::StreamRepeats, Rule::RevisionsGrow),
        (Broken::StreamEndsEarly, Rule::EndSeen),
        (Broken::StreamInvents, Rule::OneState),
        (Broken::StreamsFallSilent, Rule::HeartbeatsCome),
        (Broken::NoResync, Rule::NewsCome),
        (Broken::ProcessingIsFailed, Rule::FreedStays),
        (Broken::FinalChanges, Rule::FinalStays),
        (Broken::OverBudget, Rule::Limits),
        (Broken::LeakyStreams, Rule::Limits),
        (Broken::ForgottenCallbacks, Rule::AcknowledgedLasts),
        (Broken::LostSchedule, Rule::NoAlarms),
        (Broken::Panics, Rule::NoPanics),
        (Broken::OneName, Rule::PaidOnce),
        (Broken::SilentRestore, Rule::RefusedStays),
        (Broken::BlindOperator, Rule::PaidOnce),
        (Broken::BlindReplica, Rule::OneState),
        (Broken::EndlessLeases, Rule::Ends),
        (Broken::WholeBudgets, Rule::Limits),
        (Broken::OldSignatures, Rule::Ends),
        (Broken::MixedSystems, Rule::Ends),
        (Broken::SentAnew, Rule::OneContent),
    ];
}

impl Plan {
    /// One caller settles where requests are signed, with clocks that Douyin takes, and only
    /// queries tell the end.
    fn in_industry(&mut self) {
        self.systems = vec![INDUSTRY];
        self.clocks = vec![(0, 0); self.replicas];
        self.intents = 1;
        self.callbacks = false;
        self.course_max = Duration::from_secs(3_600);
        self.choices.nonce_counts_once = true;
    }
}

impl Broken {
    /// A plan in which this has a chance to show.
    pub fn plan(self, seed: u64) -> Plan {
        let mut plan = Plan::of(seed);
        plan.broken = Some(self);
        match self {
            Broken::NoGrace => {
                plan.choices.visible_after_ms = ms(plan.hidden_max);
                plan.choices.number_check = NumberCheck::AfterRules;
                plan.rates.set(Fault::ReplyLost, 3_000);
            }
            Broken::OneName => {
                plan.replicas = 3;
                let day_ms = 86_400_000;
                plan.clocks = vec![(0, 0), (day_ms, 0), (2 * day_ms, 0)];
                plan.systems = vec![GENERAL];
                plan.choices.visible_after_ms = ms(plan.hidden_max);
                plan.choices.number_check = NumberCheck::AfterRules;
                plan.rates.set(Fault::ReplyLost, 3_000);
                let crash = |nth: u32| {
                    let replica = usize::try_from(nth % 3).expect("a few");
                    (plan.storm * nth / 12, Act::Crash { replica, polls: 10 })
                };
                plan.acts = (1..12).map(crash).collect();
            }
            Broken::SilentRestore => {
                // The callers' orders are not paid yet, so that much is refused that has money
                // later (`callers::begin`).
                let mut rng = fastrand::Rng::with_seed(seed);
                plan = plan.with_restores(&mut rng, 4);
                plan.choices.number_after_refusal = NumberFate::Free;
            }
            Broken::BlindOperator => {
                // Douyin takes sends, tells nothing of it, and then is not to be reached for long.
                plan.operators = 2;
                plan.refilled = true;
                plan.callbacks = false;
                plan.rates.set(Fault::ReplyLost, 5_000);
                plan.storm = Duration::from_secs(3_600);
                plan.acts = vec![(plan.storm / 4, Act::Unreachable { lasts: plan.storm / 2 })];
            }
            Broken::OverBudget => {
                plan.knobs.budget = Budget { requests_per_second: 1, requests_in_flight: 1 };
            }
            Broken::ForgetfulDisk => {
                plan.replicas = 1;
                let crash = |nth| (plan.storm * nth / 10, Act::Crash { replica: 0, polls: 0 });
                plan.acts = (1..10).map(crash).collect();
            }
            Broken::LostSchedule => plan.replicas = 1,
            Broken::StreamsFallSilent => plan.course_max = Duration::from_secs(3_600),
            Broken::NoResync => {
                plan.replicas = 2;
                plan.loses_hints = true;
                plan.course_max = Duration::from_secs(3_600);
            }
            Broken::BlindReplica => plan.replicas = 3,
            Broken::EndlessLeases => {
                plan.replicas = 2;
                let crash = |nth| (plan.storm * nth / 10, Act::Crash { replica: 0, polls: 10 });
                plan.acts = (1..10).map(crash).collect();
            }
            Broken::WholeBudgets => {
                plan.replicas = 3;
                plan.acts = Vec::new();
                plan.intents = 200;
                plan.storm = Duration::from_secs(600);
                plan.course_max = Duration::from_secs(3_600);
                plan.knobs.budget.requests_per_second = 8;
                plan.knobs.schedule.cap = Duration::from_secs(20);
                plan.knobs.schedule.watched_cap = Duration::from_secs(2);
                plan.knobs.poller.turns_max = 32;
            }
            Broken::OldSignatures | Broken::MixedSystems => plan.in_industry(),
            Broken::SentAnew => {
                plan.systems = vec![GENERAL, SELF_OPERATED];
                plan.rates.set(Fault::Moved, 10_000);
            }
            Broken::UnknownIsRefused
            | Broken::NoOutcome
            | Broken::ProcessingIsFailed
            | Broken::UnknownIsNotSent
            | Broken::OkForNothing
            | Broken::OtherContent
            | Broken::StreamRepeats
            | Broken::StreamEndsEarly
            | Broken::StreamInvents
            | Broken::FinalChanges
            | Broken::LeakyStreams
            | Broken::Panics => {}
            // All else goes on: without its beats a gateway has no budget, and nothing begins.
            Broken::NoPoller => plan.knobs.poller.turns_max = 0,
            Broken::ForgottenCallbacks => plan.callbacks = true,
        }
        plan
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).expect("minutes")
}

/// An answer to a create as a broken gateway would give it.
pub fn answer(
    world: &World,
    answer: Result<v1::CreateSettleResponse, Status>,
) -> Result<v1::CreateSettleResponse, Status> {
    let told = answer.as_ref().err().and_then(outcome);
    match world.plan().broken {
        Some(Broken::UnknownIsRefused) if told.as_deref() == Some("unknown") => {
            answer.map_err(|status| retold(&status, "refused"))
        }
        Some(Broken::UnknownIsNotSent) if told.as_deref() == Some("unknown") => {
            answer.map_err(|status| retold(&status, "not_sent"))
        }
        Some(Broken::NoOutcome) if told.is_some() => {
            answer.map_err(|status| Status::new(status.code(), status.message()))
        }
        Some(Broken::OkForNothing) if told.as_deref() == Some("not_sent") => {
            let settle = v1::Settle {
                trade_system: v1::TradeSystem::General.into(),
                state: v1::SettleState::Processing.into(),
                settle_id: Some("7000000000000000000".to_owned()),
                revision: 2,
                ..v1::Settle::default()
            };
            Ok(v1::CreateSettleResponse { settle: Some(settle), replayed: false })
        }
        Some(Broken::FinalChanges) => answer.map(|mut response| {
            let settle = response.settle.as_mut();
            if let Some(settle) = settle.filter(|_| world.coin())
                && settle.state() == v1::SettleState::Succeeded
            {
                settle.set_state(v1::SettleState::Failed);
                settle.revision += 1;
            }
            response
        }),
        Some(_) | None => answer,
    }
}

/// A create as a broken gateway takes it.
pub fn create(world: &World, request: &v1::CreateSettleRequest) -> v1::CreateSettleRequest {
    let mut request = request.clone();
    let is_moved = || world.checker().is_moved(&request);
    if world.plan().broken == Some(Broken::SentAnew) && is_moved() {
        request.out_settle_no += "-anew";
    }
    request
}

/// Whatever else a broken gateway does when a call comes in.
pub fn handle(world: &World, process: &Process) {
    if world.plan().broken == Some(Broken::Panics) && world.below(20) == 0 {
        process.spawn(async { panic!("broken on purpose") });
    }
}

/// Whatever else a broken gateway does when a stream is opened.
pub fn open_stream(world: &World, process: &Process) {
    if world.plan().broken == Some(Broken::LeakyStreams) {
        process.spawn(std::future::pending());
    }
}

/// The body of a send as a broken gateway would send it.
pub fn body(world: &World, body: &Bytes) -> Bytes {
    if world.plan().broken != Some(Broken::OtherContent) || !world.coin() {
        return body.clone();
    }
    String::from_utf8_lossy(body).replace("120", "121").into()
}

/// The headers of a request as a broken gateway would send them.
pub fn headers(world: &World, call: &Call) -> HeaderMap {
    let mut headers = call.headers.clone();
    if world.plan().broken == Some(Broken::OldSignatures)
        && let Some(signed) = headers.get_mut("byte-authorization")
    {
        let mut douyin = world.douyin();
        let first = douyin.authorizations.entry(call.body.clone()).or_insert(signed.clone());
        *signed = first.clone();
    }
    headers
}

/// What a broken gateway reads as the answer to a request.
pub fn content(world: &World, call: &Call, content: Bytes) -> Bytes {
    let is_mixed = world.plan().broken == Some(Broken::MixedSystems);
    if !is_mixed || !call.path.ends_with("/query_settle") {
        return content;
    }
    Bytes::from_static(br#"{"err_no":0,"err_tips":"","data":[]}"#)
}

/// The same status with another outcome.
fn retold(status: &Status, outcome: &str) -> Status {
    use prost::Message as _;
    let mut inner = tonic_types::pb::Status::decode(status.details()).expect("it has details");
    for any in &mut inner.details {
        if any.type_url.ends_with("google.rpc.ErrorInfo") {
            let info = tonic_types::pb::ErrorInfo::decode(&any.value[..]);
            let mut info = info.expect("it is one");
            info.metadata.insert("outcome".to_owned(), outcome.to_owned());
            any.value = info.encode_to_vec();
        }
    }
    Status::with_details(status.code(), status.message(), inner.encode_to_vec().into())
}

/// A message of a stream as a broken gateway would send it, or several.
pub fn message(world: &World, message: Option<Message>) -> Vec<Option<Message>> {
    let (Some(broken), Some(Ok(v1::WatchSettleResponse { event: Some(event) }))) =
        (world.plan().broken, &message)
    else {
        return vec![message];
    };
    let settle = match event {
        Event::Settle(settle) => settle,
        Event::Heartbeat(_) if broken == Broken::StreamsFallSilent => return vec![],
        Event::Heartbeat(_) => return vec![message],
    };
    let retold = |state| {
        let mut settle = settle.clone();
        settle.set_state(state);
        vec![Some(Ok(v1::WatchSettleResponse { event: Some(Event::Settle(settle)) }))]
    };
    match (broken, settle.state()) {
        (Broken::StreamRepeats, state) => {
            let mut twice = retold(state);
            twice.push(message);
            twice
        }
        (Broken::StreamEndsEarly, state) if is_final(state) => vec![],
        (Broken::StreamInvents, v1::SettleState::Submitting) => retold(v1::SettleState::Rejected),
        (Broken::ProcessingIsFailed, v1::SettleState::Processing) => {
            retold(v1::SettleState::Failed)
        }
        _ => vec![message],
    }
}

pub fn is_final(state: v1::SettleState) -> bool {
    match state {
        v1::SettleState::Succeeded | v1::SettleState::Failed | v1::SettleState::Rejected => true,
        v1::SettleState::Unspecified
        | v1::SettleState::Submitting
        | v1::SettleState::Processing => false,
    }
}
