//! The link between callers and gateways: a mesh that delays, loses and repeats.
//!
//! A call travels in copies, each to a replica that is up when it arrives. The caller gets the
//! first answer that comes through.

use std::time::Duration;

use settlement_gateway::grpc::Service;
use settlement_gateway::proto::v1;
use settlement_gateway::proto::v1::operator_service_server::OperatorService as _;
use settlement_gateway::proto::v1::settlement_service_server::SettlementService as _;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::StreamExt as _;
use tonic::{Request, Response, Status};

use crate::faults::Fault;
use crate::gateway::Running;
use crate::mutations;
use crate::world::World;

/// What a caller hears of a call.
#[derive(Debug)]
pub enum Heard<T> {
    Answer(T),
    Error(Status),
    /// No answer, or one that no gateway made.
    Nothing,
}

/// One way to call a gateway.
pub trait Rpc: Clone + Send + Sync + 'static {
    type Answer: Send + 'static;

    fn call(
        self,
        service: Service,
        timeout: Duration,
    ) -> impl Future<Output = Result<Self::Answer, Status>> + Send;

    /// For the trace.
    fn name(&self) -> String;

    /// A copy has come to a gateway.
    fn delivered(&self, _world: &World) {}

    /// What the gateway takes it for.
    fn taken(&self, _world: &World) -> Self {
        self.clone()
    }

    /// What the gateway answered to a copy, even if the answer is lost.
    fn answered(
        &self,
        _world: &World,
        answer: Result<Self::Answer, Status>,
    ) -> Result<Self::Answer, Status> {
        answer
    }

    fn shown(answer: &Self::Answer) -> String;
}

macro_rules! rpc {
    ($request:ty, $answer:ty, $method:ident, $named:ident, $shown:expr) => {
        impl Rpc for $request {
            type Answer = $answer;

            async fn call(self, service: Service, timeout: Duration) -> Result<$answer, Status> {
                let mut request = Request::new(self);
                request.set_timeout(timeout);
                service.$method(request).await.map(Response::into_inner)
            }

            fn name(&self) -> String {
                format!("{} {:?}", stringify!($method), self.$named)
            }

            fn shown(answer: &$answer) -> String {
                ($shown)(answer)
            }
        }
    };
}

rpc!(
    v1::WaitSettleRequest,
    v1::WaitSettleResponse,
    wait_settle,
    key,
    |answer: &v1::WaitSettleResponse| { settle(answer.settle.as_ref()) }
);
rpc!(
    v1::GetSettleRequest,
    v1::GetSettleResponse,
    get_settle,
    key,
    |answer: &v1::GetSettleResponse| { settle(answer.settle.as_ref()) }
);
rpc!(
    v1::ShowSettleRequest,
    v1::ShowSettleResponse,
    show_settle,
    key,
    |answer: &v1::ShowSettleResponse| { settle(answer.settle.as_ref()) }
);
rpc!(
    v1::StopSendingRequest,
    v1::StopSendingResponse,
    stop_sending,
    out_settle_no,
    |answer: &v1::StopSendingResponse| { settle(answer.settle.as_ref()) }
);
rpc!(
    v1::EndSettleRequest,
    v1::EndSettleResponse,
    end_settle,
    out_settle_no,
    |answer: &v1::EndSettleResponse| { settle(answer.settle.as_ref()) }
);
rpc!(
    v1::QuerySettlesRequest,
    v1::QuerySettlesResponse,
    query_settles,
    key,
    |answer: &v1::QuerySettlesResponse| {
        answer.settles.iter().map(|one| settle(Some(one))).collect::<Vec<_>>().join(", ")
    }
);

impl Rpc for v1::CreateSettleRequest {
    type Answer = v1::CreateSettleResponse;

    async fn call(self, service: Service, timeout: Duration) -> Result<Self::Answer, Status> {
        let mut request = Request::new(self);
        request.set_timeout(timeout);
        service.create_settle(request).await.map(Response::into_inner)
    }

    fn name(&self) -> String {
        format!("create_settle {}", self.out_settle_no)
    }

    fn delivered(&self, world: &World) {
        world.checker().create_delivered(&self.out_settle_no, &self.out_order_no);
    }

    fn taken(&self, world: &World) -> Self {
        mutations::create(world, self)
    }

    fn answered(
        &self,
        world: &World,
        answer: Result<Self::Answer, Status>,
    ) -> Result<Self::Answer, Status> {
        let answer = mutations::answer(world, answer);
        let outcome = answer.as_ref().err().and_then(outcome);
        world.books_changed();
        world.checker().create_answered(
            world,
            (&self.out_settle_no, &self.out_order_no),
            outcome.as_deref(),
        );
        answer
    }

    fn shown(answer: &Self::Answer) -> String {
        let replayed = if answer.replayed { " replayed" } else { "" };
        format!("{}{replayed}", settle(answer.settle.as_ref()))
    }
}

/// A settle in few words.
pub fn settle(settle: Option<&v1::Settle>) -> String {
    let Some(settle) = settle else { return "nothing".to_owned() };
    let origin =
        if settle.origin() == v1::SettleOrigin::Platform { " of the platform" } else { "" };
    let disputed = if settle.contradiction.is_some() { " disputed" } else { "" };
    format!(
        "{} {:?} r{} {}{origin}{disputed}",
        settle.out_settle_no,
        settle.state(),
        settle.revision,
        settle.settle_id(),
    )
}

/// The reason, the outcome and whether another try makes sense.
pub fn metadata(status: &Status) -> Option<(String, Option<String>)> {
    use prost::Message as _;
    let inner = tonic_types::pb::Status::decode(status.details()).ok()?;
    let of = |any: &&prost_types::Any| any.type_url.ends_with("google.rpc.ErrorInfo");
    let info = inner.details.iter().find(of)?;
    let info = tonic_types::pb::ErrorInfo::decode(&info.value[..]).ok()?;
    Some((info.reason, info.metadata.get("outcome").cloned()))
}

pub fn outcome(status: &Status) -> Option<String> {
    metadata(status)?.1
}

/// Makes a call as a caller does that waits for so long.
pub async fn call<R: Rpc>(
    world: &World,
    who: &str,
    request: R,
    patience: Duration,
) -> Heard<R::Answer> {
    world.say(who, || format!("calls {} for {patience:?}", request.name()));
    let (answers, mut heard) = mpsc::channel(8);
    let mut copies = 1;
    while copies < 4 && world.roll(Fault::CallCopied) {
        copies += 1;
    }
    for copy in 0..copies {
        let late = if copy == 0 { Duration::ZERO } else { world.plan().copy_late_max };
        let wait = world.latency() + world.below_time(late);
        let travel = travel(world.clone(), request.clone(), wait, patience, answers.clone());
        tokio::spawn(travel);
    }
    drop(answers);
    let patience = match world.roll(Fault::CallerGone) {
        true => world.below_time(patience),
        false => patience,
    };
    let first = tokio::time::timeout(patience, heard.recv()).await;
    let heard = match first {
        Ok(Some(Ok(answer))) => Heard::Answer(answer),
        Ok(Some(Err(status))) => Heard::Error(status),
        Ok(None) | Err(_) => Heard::Nothing,
    };
    world.say(who, || match &heard {
        Heard::Answer(answer) => format!("hears of {}: {}", request.name(), R::shown(answer)),
        Heard::Error(status) => {
            let (reason, outcome) = metadata(status).unwrap_or_default();
            format!("hears of {}: {:?} {reason} {outcome:?}", request.name(), status.code())
        }
        Heard::Nothing => format!("hears nothing of {}", request.name()),
    });
    heard
}

/// One copy of a call, there and back.
async fn travel<R: Rpc>(
    world: World,
    request: R,
    wait: Duration,
    patience: Duration,
    answers: mpsc::Sender<Result<R::Answer, Status>>,
) {
    tokio::time::sleep(wait).await;
    if world.roll(Fault::CallLate) {
        tokio::time::sleep(world.below_time(world.plan().copy_late_max)).await;
    }
    if world.roll(Fault::CallLost) {
        return;
    }
    let Some(Running { process, core, .. }) = replica_up(&world) else { return };
    world.say(process.name(), || format!("gets {}", request.name()));
    request.delivered(&world);
    mutations::handle(&world, &process);
    let (answer, answered) = oneshot::channel();
    let handled = request.taken(&world);
    process.spawn(handle(handled, core.service, patience, answer));
    // The connection ends when the caller does, and the gateway notices that a moment later.
    let answer = tokio::select! {
        biased;
        answer = answered => answer.ok(),
        () = gone(&world, &answers) => None,
    };
    let Some(answer) = answer else { return };
    let answer = request.answered(&world, answer);
    if world.roll(Fault::AnswerLost) {
        world.say("link", || format!("loses the answer to {}", request.name()));
        return;
    }
    tokio::time::sleep(world.latency()).await;
    let _ = answers.try_send(answer);
}

/// The handler, which is dropped when its caller is gone.
async fn handle<R: Rpc>(
    request: R,
    service: Service,
    patience: Duration,
    mut answer: oneshot::Sender<Result<R::Answer, Status>>,
) {
    let result = tokio::select! {
        biased;
        result = request.call(service, patience) => result,
        () = answer.closed() => return,
    };
    let _ = answer.send(result);
}

async fn gone<T>(world: &World, answers: &mpsc::Sender<T>) {
    answers.closed().await;
    tokio::time::sleep(world.latency()).await;
}

/// A replica that is up, if any is.
pub fn replica_up(world: &World) -> Option<Running> {
    let up: Vec<Running> = {
        let slots = world.slots();
        slots
            .iter()
            .filter(|slot| slot.is_alive())
            .filter_map(|slot| slot.running.clone())
            .collect()
    };
    if up.is_empty() { None } else { Some(up[world.below(up.len())].clone()) }
}

/// One message of a stream as a caller gets it. `None` at the end that the gateway made.
pub type Message = Result<v1::WatchSettleResponse, Status>;

/// Opens a stream; its messages arrive in order, and end when the connection does: with `None`
/// from the gateway, or with nothing at all.
pub fn stream(
    world: &World,
    request: v1::WatchSettleRequest,
    patience: Duration,
) -> mpsc::Receiver<Option<Message>> {
    let (messages, stream) = mpsc::channel(2);
    let world = world.clone();
    tokio::spawn(async move {
        tokio::time::sleep(world.latency()).await;
        if world.roll(Fault::CallLost) {
            return;
        }
        let Some(Running { process, core, .. }) = replica_up(&world) else { return };
        let (wire, mut arriving) = mpsc::channel(1);
        mutations::open_stream(&world, &process);
        process.spawn(pump(core.service, request, patience, wire));
        while let Some(message) = arriving.recv().await {
            let message = mutations::message(&world, message);
            tokio::time::sleep(world.latency()).await;
            if world.roll(Fault::StreamCut) {
                world.say("link", || "cuts a stream".to_owned());
                return;
            }
            for message in message {
                // The reader is gone, or slow: then the gateway is held up.
                if messages.send(message).await.is_err() {
                    return;
                }
            }
        }
    });
    stream
}

/// The gateway's side of a stream.
async fn pump(
    service: Service,
    request: v1::WatchSettleRequest,
    patience: Duration,
    wire: mpsc::Sender<Option<Message>>,
) {
    let mut asked = Request::new(request);
    asked.set_timeout(patience);
    let opened = tokio::select! {
        biased;
        opened = service.watch_settle(asked) => opened,
        () = wire.closed() => return,
    };
    let mut stream = match opened {
        Ok(stream) => stream.into_inner(),
        Err(status) => {
            let _ = wire.send(Some(Err(status))).await;
            return;
        }
    };
    loop {
        let message = tokio::select! {
            biased;
            () = wire.closed() => return,
            message = stream.next() => message,
        };
        let last = !matches!(message, Some(Ok(_)));
        if wire.send(message).await.is_err() || last {
            return;
        }
    }
}
