//! What stands before the gateway and is unkind to its callers: an HTTP/2 proxy that loses, delays
//! and makes up answers. It passes on what it does not touch as it is.
//!
//! What it must not know: which scenario it plays.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use douyin_sim::{Simulator, Snapshot, Status};
use http::uri::Scheme;
use http::{Request, Response, Uri};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;

use super::act::{Act, Broken, End};
use super::message::{About, Call};
use super::table::{ComesTo, Plan};
use crate::grpc::rpc::Rpc;
use crate::grpc::status::Names;

/// Beyond so many numbers the front is kind.
const NUMBERS_MAX: usize = 100_000;
/// The largest request whose settle the front looks at; the gateway takes smaller ones.
const REQUEST_BYTES_MAX: usize = 1024 * 1024;
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// The proxy. Cheap to clone; clones are the same one.
#[derive(Clone)]
pub(in crate::cli) struct Front(Arc<Shared>);

struct Shared {
    plan: Plan,
    simulator: Simulator,
    default_app: &'static str,
    client: Client<HttpConnector, Body>,
    tasks: TaskTracker,
    numbers: Mutex<Numbers>,
    /// `None`: the gateway is down.
    gateway: Mutex<Option<SocketAddr>>,
    /// Ends every connection that is open.
    cut: Mutex<CancellationToken>,
    stop: CancellationToken,
}

/// Numbers that have a course, and what has been called about them.
struct Numbers {
    known: HashMap<String, Progress>,
    others: Others,
    others_seen: usize,
}

#[derive(Clone, Copy, Default)]
struct Progress {
    course: Option<usize>,
    creates: usize,
    follows: usize,
}

/// What happens to a number that was given no course.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::cli) enum Others {
    /// Nothing.
    AreSpared,
    /// Each new one has the next course; after the last one comes the first one.
    TakeTurns,
}

impl Front {
    pub(in crate::cli) fn new(
        plan: Plan,
        simulator: Simulator,
        default_app: &'static str,
        others: Others,
    ) -> Self {
        let tasks = TaskTracker::new();
        let client = Client::builder(Owned(tasks.clone())).http2_only(true).build_http();
        let numbers = Numbers { known: HashMap::new(), others, others_seen: 0 };
        Self(Arc::new(Shared {
            plan,
            simulator,
            default_app,
            client,
            tasks,
            numbers: Mutex::new(numbers),
            gateway: Mutex::new(None),
            cut: Mutex::new(CancellationToken::new()),
            stop: CancellationToken::new(),
        }))
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.0.plan
    }

    /// Gives a number a course.
    pub(in crate::cli) fn assign(&self, number: &str, course: usize) {
        let progress = Progress { course: Some(course), ..Progress::default() };
        lock(&self.0.numbers).known.insert(number.to_owned(), progress);
        self.prepare_douyin(number, course);
    }

    /// The gateway is up.
    pub(super) fn open(&self, gateway: SocketAddr) {
        *lock(&self.0.gateway) = Some(gateway);
    }

    /// The gateway is down: every connection breaks, and none begins.
    pub(super) fn close(&self) {
        *lock(&self.0.gateway) = None;
        std::mem::take(&mut *lock(&self.0.cut)).cancel();
    }

    /// Takes connections until it is stopped.
    pub(super) async fn serve(self, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.0.stop.cancelled() => return,
            };
            match accepted {
                Ok((socket, _)) => {
                    self.0.tasks.spawn(self.clone().connection(socket));
                }
                // There is no descriptor for it.
                Err(_) => sleep(ACCEPT_AGAIN).await,
            }
        }
    }

    /// Ends every connection, and waits until the last one has ended.
    pub(super) async fn stop(&self) {
        self.close();
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    async fn connection(self, socket: TcpStream) {
        if lock(&self.0.gateway).is_none() {
            return;
        }
        let cut = lock(&self.0.cut).child_token();
        let tasks = Owned(self.0.tasks.clone());
        let of_call = cut.clone();
        let service = service_fn(move |request| self.clone().answer(request, of_call.clone()));
        let mut builder = http2::Builder::new(tasks);
        let serving =
            builder.timer(TokioTimer::new()).serve_connection(TokioIo::new(socket), service);
        tokio::select! {
            // How a connection ends is the client's affair.
            _ = serving => {}
            () = cut.cancelled() => {}
        }
    }

    /// Answers a call. `Err`: its stream is reset.
    async fn answer(
        self,
        request: Request<Incoming>,
        line: CancellationToken,
    ) -> Result<Response<Body>, Broken> {
        let answer = match Call::of(request.uri().path()) {
            None => self.forward(request.map(Body::new)).await,
            Some(call) => {
                let (head, body) = request.into_parts();
                let body = Limited::new(body, REQUEST_BYTES_MAX).collect().await;
                let body = body.map_err(|_| Broken { cut: false })?.to_bytes();
                let about = call.about(&body, self.0.default_app);
                let request = Request::from_parts(head, Body::new(Full::new(body)));
                match about {
                    Some(about) => self.act(call, about, request, line.clone()).await,
                    None => self.forward(request).await,
                }
            }
        };
        if answer.as_ref().is_err_and(|broken| broken.cut) {
            line.cancel();
        }
        answer
    }

    async fn act(
        &self,
        call: Call,
        about: About,
        request: Request<Body>,
        line: CancellationToken,
    ) -> Result<Response<Body>, Broken> {
        let (rpc, names) = (call.rpc(), about.names);
        match self.next_act(call, &about.number) {
            Act::Pass => self.forward(request).await,
            Act::TurnAway(end) => end.answer(rpc, &names),
            Act::Lose(end) => {
                self.forward(request).await?;
                end.answer(rpc, &names)
            }
            Act::Late(time) => {
                let answer = self.forward(request).await;
                sleep(time).await;
                answer
            }
            Act::EndAfter(time, end) => {
                let until = Instant::now() + time;
                let Ok(answer) = timeout_at(until, self.forward(request)).await else {
                    return end.answer(rpc, &names);
                };
                let until = Box::pin(sleep_until(until));
                let ended = |body| Ended { body, until, end, rpc, names, line, is_over: false };
                Ok(answer?.map(|body| Body::new(ended(body))))
            }
        }
    }

    /// What happens to this call, the next one of its kind about this number.
    fn next_act(&self, call: Call, number: &str) -> Act {
        let (progress, is_new) = lock(&self.0.numbers).note(call, number, &self.0.plan);
        if let (true, Some(course)) = (is_new, progress.course) {
            self.prepare_douyin(number, course);
        }
        let acts = match call {
            Call::Create => {
                let course = progress.course.and_then(|course| self.0.plan.courses.get(course));
                course.map_or(&[][..], |course| &course.creates).get(progress.creates)
            }
            Call::Watch | Call::Wait => match progress.course {
                Some(_) => self.0.plan.follows.get(progress.follows),
                None => None,
            },
        };
        acts.copied().unwrap_or(Act::Pass)
    }

    /// Tells the simulator what Douyin does with the requests of this number.
    fn prepare_douyin(&self, number: &str, course: usize) {
        if let Some(course) = self.0.plan.courses.get(course) {
            self.0.simulator.script(number, course.douyin.creates.clone());
            self.0.simulator.script_query(number, course.douyin.queries.clone());
            if course.comes_to == ComesTo::Failure {
                self.0.tasks.spawn(self.clone().fail(number.to_owned()));
            }
        }
    }

    /// Lets the settle of this number fail, in the middle of its time.
    async fn fail(self, number: String) {
        let Shared { simulator, plan, stop, .. } = &*self.0;
        let fail = async {
            let is_there = |books: &Snapshot| !books.under(&number).is_empty();
            let books = simulator.until(is_there).await;
            sleep(Duration::from_millis(plan.processing_ms / 2)).await;
            for settle in books.under(&number) {
                simulator.finish(&settle.settle_id, Status::Fail);
            }
        };
        stop.run_until_cancelled(fail).await;
    }

    async fn forward(&self, mut request: Request<Body>) -> Result<Response<Body>, Broken> {
        let cut = Broken { cut: true };
        let gateway = lock(&self.0.gateway).ok_or(cut)?;
        let mut uri = std::mem::take(request.uri_mut()).into_parts();
        uri.scheme = Some(Scheme::HTTP);
        uri.authority = Some(gateway.to_string().parse().map_err(|_| cut)?);
        *request.uri_mut() = Uri::from_parts(uri).map_err(|_| cut)?;
        let answer = self.0.client.request(request).await;
        answer.map(|answer| answer.map(Body::new)).map_err(|_| cut)
    }
}

impl Numbers {
    /// Counts a call; returns what was so before it, and whether the number is a new one.
    fn note(&mut self, call: Call, number: &str, plan: &Plan) -> (Progress, bool) {
        let is_new = !self.known.contains_key(number);
        if is_new {
            let takes_turns = self.others == Others::TakeTurns && call == Call::Create;
            if !takes_turns || self.known.len() >= NUMBERS_MAX {
                return (Progress::default(), false);
            }
            let course = Some(self.others_seen % plan.courses.len().max(1));
            self.others_seen += 1;
            self.known.insert(number.to_owned(), Progress { course, ..Progress::default() });
        }
        let Some(progress) = self.known.get_mut(number) else {
            return (Progress::default(), false);
        };
        let before = *progress;
        match call {
            Call::Create => progress.creates += 1,
            Call::Watch | Call::Wait => progress.follows += 1,
        }
        (before, is_new)
    }
}

/// An answer that ends when its time has come.
struct Ended {
    body: Body,
    until: Pin<Box<Sleep>>,
    end: End,
    rpc: Rpc,
    names: Names,
    line: CancellationToken,
    is_over: bool,
}

impl http_body::Body for Ended {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        if this.is_over {
            return Poll::Ready(None);
        }
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        std::task::ready!(this.until.as_mut().poll(cx));
        this.is_over = true;
        Poll::Ready(Some(match this.end.trailers(this.rpc, &this.names) {
            Ok(trailers) => Ok(Frame::trailers(trailers)),
            Err(broken) => {
                if broken.cut {
                    this.line.cancel();
                }
                Err(broken.into())
            }
        }))
    }
}

/// Runs the parts of connections under the owner that waits for them.
#[derive(Clone)]
struct Owned(TaskTracker);

impl<F> hyper::rt::Executor<F> for Owned
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, part: F) {
        self.0.spawn(part);
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
