//! Floor 3: the gRPC edge. Each RPC parses, makes one call to the gateway, and renders.
//!
//! What it must not know: SQL, Douyin's wire, how a settle changes.

mod answers;
pub(crate) mod arriving;
pub mod audit;
pub(crate) mod bounds;
mod call;
mod config;
pub mod convert;
pub(crate) mod deadline;
pub(crate) mod enums;
mod forwarded;
pub(crate) mod identity;
mod limits;
mod operator;
mod origin;
pub mod page;
pub mod reasons;
pub mod rpc;
pub(crate) mod server;
pub(crate) mod shape;
pub(crate) mod status;
mod stream;
pub(crate) mod time;
pub(crate) mod violations;

use std::sync::Arc;

use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};
use tracing::{Instrument as _, Span};

use crate::apps::{App, Apps};
use crate::gateway::{Create, Ending, Gateway, Name, OnRecord, QueryError, WatchRequest};
use crate::proto::v1;
use crate::proto::v1::settlement_service_server::SettlementService;
use crate::settle::{AppId, TradeSystem};
use crate::store::ListQuery;
use crate::tasks::Tasks;
use audit::{Admission, Audit, Begun, Told, What};
use bounds::{Bound, Connection, Held, Kind, Process};
use call::Repeat;
pub use config::GrpcConfig;
use convert::NameKey;
use deadline::Deadline;
use identity::{Denied, Identity};
use rpc::Rpc;
use shape::{Entered, Shape};
use status::Names;
pub use stream::WatchStream;
use stream::{Opener, StreamTerms};
use violations::Violations;

/// Watch streams and waits of one connection. Fewer than its streams, so that its caller's other
/// calls get through.
pub const WATCHES_PER_CONNECTION_MAX: usize = 1_000;

/// Pages that are read and rendered at once. Each keeps a core busy; more of them would delay
/// creates and watches on a small machine and make lists no faster.
pub const PAGES_MAX: usize = 2;

/// The implementation of both services; cheap to clone.
#[derive(Clone)]
pub struct Service {
    gateway: Gateway,
    apps: Apps,
    admission: Admission,
    config: Arc<GrpcConfig>,
    /// What the peers hold of this process.
    process: Arc<Process>,
    /// Bounds the calls that wait for the beginning of their answer.
    calls: Arc<Semaphore>,
    /// Bounds the pages that are being read and rendered.
    pages: Arc<Semaphore>,
    /// Owns the task of every stream.
    streams: Tasks,
}

impl Service {
    /// `streams` runs and owns the task of every stream.
    pub(crate) fn new(
        gateway: Gateway,
        apps: Apps,
        admission: Admission,
        config: GrpcConfig,
        streams: Tasks,
    ) -> Self {
        let process = Arc::new(Process::new(limits(&config)));
        let calls = Arc::new(Semaphore::new(config.calls_max));
        let pages = Arc::new(Semaphore::new(PAGES_MAX));
        let config = Arc::new(config);
        Self { gateway, apps, admission, config, process, calls, pages, streams }
    }

    /// Gives errors of the server's stack the form of this service's own.
    pub fn shape(&self) -> Shape {
        let process = Arc::clone(&self.process);
        let (calls, admission) = (Arc::clone(&self.calls), self.admission.clone());
        Shape::new(calls, process, self.config.unary_limit, admission)
    }

    /// Whether a call that comes now finds a place.
    pub(crate) fn has_room(&self) -> bool {
        self.calls.available_permits() > 0
    }

    /// Waits for the tasks of all streams; they end once the gateway drains.
    pub async fn streams_ended(&self) {
        self.streams.ended().await;
    }

    async fn create(
        &self,
        request: Request<v1::CreateSettleRequest>,
    ) -> Result<v1::CreateSettleResponse, Status> {
        let (deadline, mut identity) = (self.deadline(&request), self.identity(&request));
        let default_app = self.config.default_app.as_ref();
        let repeat: Option<Repeat> = request.extensions().get().cloned();
        let request = request.into_inner();
        let (app_id, validate_only) = (request.app_id.clone(), request.validate_only);
        let parsed = convert::create(request, default_app, self.config.duplicate_receivers);
        let unfit = |violations| self.unfit(&identity, &app_id, violations, Rpc::CreateSettle);
        let parsed = parsed.map_err(unfit)?;
        name_span(&parsed.key.app_id, parsed.key.out_settle_no.as_str());
        let names = Names::of_create(&parsed.key, &parsed.content);
        let app = self.admit(&mut identity, &parsed.key.app_id, &names, Rpc::CreateSettle)?;
        in_system(app, parsed.key.trade_system, &names, Rpc::CreateSettle)?;
        let mut create = Create {
            app: Arc::clone(app),
            key: parsed.key,
            by_default_app: parsed.by_default_app,
            content: parsed.content,
            submit_before: parsed.submit_before,
            return_when: parsed.return_when,
            by: identity.name().cloned(),
            deadline: deadline.at,
            on_record: OnRecord::default(),
        };
        if validate_only {
            let recorded = self.gateway.check(&create).await;
            let recorded = recorded.map_err(|e| status::of_create(e, &names, deadline.limit))?;
            let settle = recorded.as_ref().map(convert::settle);
            repeat.iter().for_each(Repeat::note);
            return Ok(v1::CreateSettleResponse { replayed: settle.is_some(), settle });
        }
        let begun = self.begun(What::Create, Rpc::CreateSettle, &identity, Told::about(&names));
        create.on_record = begun.on_record();
        let created = self.gateway.create(create).await;
        let created = match created {
            Ok(created) => created,
            Err(error) => {
                let outcome = status::outcome(&error).as_str();
                Span::current().record("log_id", error.log_id());
                let status = status::of_create(error, &names, deadline.limit);
                begun.ended(Some(outcome), false, Some(&status));
                return Err(status);
            }
        };
        let state = created.record.state.kind().as_str();
        Span::current().record("state", state);
        if let Some(repeat) = repeat.filter(|_| created.replayed) {
            repeat.note();
        }
        begun.ended(Some(state), created.replayed, None);
        let settle = Some(convert::settle(&created.record));
        Ok(v1::CreateSettleResponse { settle, replayed: created.replayed })
    }

    async fn watch(&self, request: Request<v1::WatchSettleRequest>) -> Result<WatchStream, Status> {
        let deadline = self.deadline(&request);
        let connection = Connection::of(request.extensions(), &self.process);
        let mut identity = self.identity(&request);
        let request = request.into_inner();
        let key = request.key.into();
        let (trade_system, after_revision) = (request.trade_system, request.after_revision);
        let app_id = request.app_id;
        let asked = Asked { app_id, trade_system, key, after_revision };
        let (app, name, names) = self.name(&mut identity, asked, Rpc::WatchSettle)?;
        let seat = self.seat(&connection, &names)?;
        let heartbeat_interval = request.heartbeat_interval;
        let heartbeat_interval = convert::heartbeat_interval(heartbeat_interval);
        let heartbeat_interval = Some(heartbeat_interval.unwrap_or(self.config.heartbeat));
        let app = Arc::clone(app);
        let request = WatchRequest { app, name, after_revision, heartbeat_interval };
        let watch = by(deadline, &names, self.gateway.watch(request)).await?;
        let watch = watch.map_err(|ending| self.ended(ending, &names, Rpc::WatchSettle))?;
        let terms = StreamTerms { patience: self.config.slow_consumer, until: deadline.stream };
        let drain = self.gateway.draining().clone();
        let opener = Opener { identity: identity.lasting(), audit: self.admission.audit.clone() };
        let (stream, pump) = stream::watch_stream(watch, opener, drain, terms, seat);
        self.streams.spawn(pump.run().instrument(Span::current()));
        Ok(stream)
    }

    async fn get(
        &self,
        request: Request<v1::GetSettleRequest>,
    ) -> Result<v1::GetSettleResponse, Status> {
        let (deadline, mut identity) = (self.deadline(&request), self.identity(&request));
        let request = request.into_inner();
        let key = request.key.into();
        let (app_id, trade_system) = (request.app_id, request.trade_system);
        let asked = Asked { app_id, trade_system, key, after_revision: 0 };
        let (app, name, names) = self.name(&mut identity, asked, Rpc::GetSettle)?;
        let record = async {
            match request.refresh {
                true => self.gateway.refresh(app, &name, identity.name()).await,
                false => self.gateway.get(&name).await.map_err(QueryError::Store),
            }
        };
        let record = by(deadline, &names, record).await?;
        let record = record.map_err(|error| status::of_query(error, &names, Rpc::GetSettle))?;
        let record = record.ok_or_else(|| status::not_found(&names, Rpc::GetSettle))?;
        let history = match request.include_history {
            true => by(deadline, &names, self.gateway.history(&record.key)).await?,
            false => Ok(Vec::new()),
        };
        let history = history.map_err(|error| status::of_store(&error, &names, Rpc::GetSettle))?;
        Ok(v1::GetSettleResponse {
            settle: Some(convert::settle(&record)),
            history: history.iter().map(convert::history_entry).collect(),
        })
    }

    async fn wait(
        &self,
        request: Request<v1::WaitSettleRequest>,
    ) -> Result<v1::WaitSettleResponse, Status> {
        let deadline = self.deadline(&request);
        let connection = Connection::of(request.extensions(), &self.process);
        let mut identity = self.identity(&request);
        let request = request.into_inner();
        let key = request.key.into();
        let (trade_system, after_revision) = (request.trade_system, request.after_revision);
        let app_id = request.app_id;
        let asked = Asked { app_id, trade_system, key, after_revision };
        let (app, name, names) = self.name(&mut identity, asked, Rpc::WaitSettle)?;
        let _seat = self.seat(&connection, &names)?;
        let (app, app_id) = (Arc::clone(app), app.id().clone());
        let request = WatchRequest { app, name, after_revision, heartbeat_interval: None };
        // A settle that is not found has no current state to answer with.
        let watch = by(deadline, &names, self.gateway.watch(request)).await?;
        let ended = |ending| self.ended(ending, &names, Rpc::WaitSettle);
        let waiting = watch.map_err(ended)?.wait_until(deadline.at);
        let audit = &self.admission.audit;
        let record = while_allowed(audit, &mut identity, Rpc::WaitSettle, &names, &app_id, waiting);
        let record = record.await?.map_err(ended)?;
        Ok(v1::WaitSettleResponse { settle: Some(convert::settle(&record)) })
    }

    async fn query(
        &self,
        request: Request<v1::QuerySettlesRequest>,
    ) -> Result<v1::QuerySettlesResponse, Status> {
        let (deadline, mut identity) = (self.deadline(&request), self.identity(&request));
        let v1::QuerySettlesRequest { app_id, trade_system, key } = request.into_inner();
        let default_app = self.config.default_app.as_ref();
        let parsed = convert::question(app_id.clone(), trade_system, key, default_app);
        let unfit = |violations| self.unfit(&identity, &app_id, violations, Rpc::QuerySettles);
        let (app_id, trade_system, question) = parsed.map_err(unfit)?;
        name_span(&app_id, "");
        let names = Names::of_question(&app_id, &question);
        let app = self.admit(&mut identity, &app_id, &names, Rpc::QuerySettles)?;
        in_system(app, trade_system, &names, Rpc::QuerySettles)?;
        let records = self.gateway.query(app, trade_system, &question, identity.name());
        let records = by(deadline, &names, records).await?;
        let failed = |error| status::of_query(error, &names, Rpc::QuerySettles);
        let records = records.map_err(failed)?;
        Ok(v1::QuerySettlesResponse { settles: records.iter().map(convert::settle).collect() })
    }

    async fn unsettled_amount(
        &self,
        request: Request<v1::GetUnsettledAmountRequest>,
    ) -> Result<v1::GetUnsettledAmountResponse, Status> {
        const RPC: Rpc = Rpc::GetUnsettledAmount;
        let (deadline, mut identity) = (self.deadline(&request), self.identity(&request));
        let (request, default_app) = (request.into_inner(), self.config.default_app.as_ref());
        let app_id = request.app_id.clone();
        let parsed = convert::unsettled_amount(request, default_app);
        let parsed = parsed.map_err(|bad| self.unfit(&identity, &app_id, bad, RPC))?;
        let (app_id, trade_system, order) = parsed;
        name_span(&app_id, "");
        let names = Names::of_order(&app_id, trade_system, &order);
        let app = self.admit(&mut identity, &app_id, &names, RPC)?;
        in_system(app, trade_system, &names, RPC)?;
        let is_on = self.config.unsettled_amount_elsewhere;
        if trade_system != TradeSystem::Guaranteed && !is_on {
            return Err(status::no_unsettled_amount(&names));
        }
        let left = by(deadline, &names, self.gateway.amount_left(app, &order)).await?;
        let left = left.map_err(|error| status::of_query(error, &names, RPC))?;
        Ok(convert::amount_left(&left))
    }

    async fn list(
        &self,
        request: Request<v1::ListSettlesRequest>,
    ) -> Result<v1::ListSettlesResponse, Status> {
        let (deadline, mut identity) = (self.deadline(&request), self.identity(&request));
        let connection = Connection::of(request.extensions(), &self.process);
        let default_app = self.config.default_app.as_ref();
        let request = request.into_inner();
        let app_id = request.app_id.clone();
        let query = convert::list(request, default_app);
        let unfit = |violations| self.unfit(&identity, &app_id, violations, Rpc::ListSettles);
        let query = query.map_err(unfit)?;
        name_span(&query.app_id, "");
        let names = Names::of_app(&query.app_id);
        self.admit(&mut identity, &query.app_id, &names, Rpc::ListSettles)?;
        let _page = by(deadline, &names, self.pages.acquire()).await?;
        // While this list waited, the peer may have left earlier answers untaken.
        if !connection.has_room(Kind::Answers, page::PAGE_BYTES_MAX) {
            return Err(status::overloaded(&names, Rpc::ListSettles));
        }
        self.page(query, deadline, &names).await
    }

    /// One page. If it is too large, it is read again with fewer settles, which is rare.
    async fn page(
        &self,
        mut query: ListQuery,
        deadline: Deadline,
        names: &Names,
    ) -> Result<v1::ListSettlesResponse, Status> {
        loop {
            let listed = by(deadline, names, self.gateway.list(&query)).await?;
            let listed = listed.map_err(|e| status::of_store(&e, names, Rpc::ListSettles))?;
            let settles: Vec<_> = listed.records.iter().map(convert::settle).collect();
            let fitting = page::fitting(&settles);
            if fitting == settles.len() {
                let next = listed.next.map(|position| page::token(&query, position));
                let next_page_token = next.unwrap_or_default();
                return Ok(v1::ListSettlesResponse { settles, next_page_token });
            }
            query.settles_max = u32::try_from(fitting).unwrap_or(u32::MAX);
        }
    }

    /// A place among the watches.
    fn seat(&self, connection: &Arc<Connection>, names: &Names) -> Result<Held, Status> {
        let seat = connection.take(Kind::Watches, 1);
        seat.ok_or_else(|| status::watch_limit(names, self.gateway.spread()))
    }

    fn name(
        &self,
        identity: &mut Identity,
        asked: Asked,
        rpc: Rpc,
    ) -> Result<(&Arc<App>, Name, Names), Status> {
        let Asked { app_id, trade_system, key, after_revision } = asked;
        let default_app = self.config.default_app.as_ref();
        let name = convert::name(app_id.clone(), trade_system, key, after_revision, default_app);
        let name = name.map_err(|violations| self.unfit(identity, &app_id, violations, rpc))?;
        let (app_id, number) = match &name {
            Name::Key(key) => (&key.app_id, key.out_settle_no.as_str()),
            Name::SettleId(app_id, ..) => (app_id, ""),
        };
        name_span(app_id, number);
        let names = Names::of(&name);
        let app = self.admit(identity, app_id, &names, rpc)?;
        if Rpc::ASKING.contains(&rpc) {
            in_system(app, name.trade_system(), &names, rpc)?;
        }
        Ok((app, name, names))
    }

    /// The answer to a request whose fields are wrong. If the caller may not use its app, that is
    /// told instead.
    fn unfit(&self, identity: &Identity, app_id: &str, violations: Violations, rpc: Rpc) -> Status {
        let app_id = match app_id {
            "" => self.config.default_app.clone(),
            app_id => AppId::parse(app_id).ok(),
        };
        let denied = app_id.and_then(|app_id| {
            let denied = identity.may_use(rpc.right(), &app_id).err()?;
            let names = Names::of_app(&app_id);
            Some(denied_by(&self.admission.audit, identity, denied, &names, rpc))
        });
        denied.unwrap_or_else(|| status::invalid(violations, rpc))
    }

    /// The app of a call, if the caller may make such calls about it and it is served.
    fn admit(
        &self,
        identity: &mut Identity,
        app_id: &AppId,
        names: &Names,
        rpc: Rpc,
    ) -> Result<&Arc<App>, Status> {
        // Its body may have taken seconds to arrive.
        identity.look_again();
        // An app that the caller may not use is not told from one that is not configured.
        let admitted = identity.may_use(rpc.right(), app_id);
        let audit = &self.admission.audit;
        admitted.map_err(|denied| denied_by(audit, identity, denied, names, rpc))?;
        if let Some(caller) = identity.name() {
            Span::current().record("caller", caller.as_str());
        }
        self.apps.get(app_id).ok_or_else(|| status::app_not_configured(names, rpc))
    }

    /// The status of a watch that ended before its first message.
    fn ended(&self, ending: Ending, names: &Names, rpc: Rpc) -> Status {
        let status = status::of_ending(ending, names, rpc, self.gateway.spread());
        status.expect("a watch ends well only after it told the final state")
    }

    /// Notes in the audit what a caller does.
    fn begun<'a>(
        &'a self,
        what: What,
        rpc: Rpc,
        identity: &'a Identity,
        told: Told<'a>,
    ) -> Begun<'a> {
        Begun::new(&self.admission.audit, what, rpc.name(), identity, told)
    }

    /// Who made a request.
    fn identity<T>(&self, request: &Request<T>) -> Identity {
        let noted = request.extensions().get().cloned();
        let of = || {
            let (head, extensions) = (request.metadata().as_ref(), request.extensions());
            Identity::of(head, extensions, &self.admission.callers)
        };
        noted.unwrap_or_else(of)
    }

    /// The deadline of a request that has reached the code of its RPC.
    fn deadline<T>(&self, request: &Request<T>) -> Deadline {
        Entered::mark(request);
        Deadline::of_request(request, self.config.unary_limit)
    }
}

/// What the peers of this server may hold, in the order of [`Kind`].
fn limits(config: &GrpcConfig) -> [Bound; 4] {
    [
        Bound {
            process_max: config.watches_max,
            connection_max: WATCHES_PER_CONNECTION_MAX,
            share: 0,
        },
        server::STREAMS,
        server::ARRIVING,
        Bound { process_max: config.unread_bytes_max, ..server::ANSWERS },
    ]
}

/// How a request names one settle.
struct Asked {
    app_id: String,
    trade_system: i32,
    key: NameKey,
    after_revision: i64,
}

/// Whether the app settles in this system.
fn in_system(app: &App, system: TradeSystem, names: &Names, rpc: Rpc) -> Result<(), Status> {
    match app.has(system) {
        true => Ok(()),
        false => Err(status::system_not_configured(&app.config.trade_systems, names, rpc)),
    }
}

fn name_span(app_id: &AppId, out_settle_no: &str) {
    Span::current().record("app_id", app_id.as_str()).record("out_settle_no", out_settle_no);
}

/// Ends the work of a call whose time is up. Creates are not called with it: they promise an
/// outcome.
async fn by<T>(
    deadline: Deadline,
    names: &Names,
    work: impl Future<Output = T>,
) -> Result<T, Status> {
    let done = tokio::time::timeout_at(deadline.at, Box::pin(work)).await;
    done.map_err(|_| status::of_limit(deadline.limit, names))
}

/// Does the work of a call that may take long for as long as its caller may make such calls.
async fn while_allowed<T>(
    audit: &Audit,
    identity: &mut Identity,
    rpc: Rpc,
    names: &Names,
    app_id: &AppId,
    work: impl Future<Output = T>,
) -> Result<T, Status> {
    let mut work = Box::pin(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return Ok(done),
            () = identity.outdated() => identity.look_again(),
        }
        let allowed = identity.may_use(rpc.right(), app_id);
        allowed.map_err(|denied| denied_by(audit, identity, denied, names, rpc))?;
    }
}

/// The status of a call that is not its caller's right; the audit is told.
fn denied_by(
    audit: &Audit,
    identity: &Identity,
    denied: Denied,
    names: &Names,
    rpc: Rpc,
) -> Status {
    audit.refused(rpc.name(), identity, Told::about(names), denied);
    status::denied(denied, names, rpc)
}

#[tonic::async_trait]
impl SettlementService for Service {
    async fn create_settle(
        &self,
        request: Request<v1::CreateSettleRequest>,
    ) -> Result<Response<v1::CreateSettleResponse>, Status> {
        self.create(request).await.map(Response::new)
    }

    type WatchSettleStream = WatchStream;

    async fn watch_settle(
        &self,
        request: Request<v1::WatchSettleRequest>,
    ) -> Result<Response<WatchStream>, Status> {
        self.watch(request).await.map(Response::new)
    }

    async fn wait_settle(
        &self,
        request: Request<v1::WaitSettleRequest>,
    ) -> Result<Response<v1::WaitSettleResponse>, Status> {
        self.wait(request).await.map(Response::new)
    }

    async fn get_settle(
        &self,
        request: Request<v1::GetSettleRequest>,
    ) -> Result<Response<v1::GetSettleResponse>, Status> {
        self.get(request).await.map(Response::new)
    }

    async fn query_settles(
        &self,
        request: Request<v1::QuerySettlesRequest>,
    ) -> Result<Response<v1::QuerySettlesResponse>, Status> {
        self.query(request).await.map(Response::new)
    }

    async fn list_settles(
        &self,
        request: Request<v1::ListSettlesRequest>,
    ) -> Result<Response<v1::ListSettlesResponse>, Status> {
        self.list(request).await.map(Response::new)
    }

    async fn get_unsettled_amount(
        &self,
        request: Request<v1::GetUnsettledAmountRequest>,
    ) -> Result<Response<v1::GetUnsettledAmountResponse>, Status> {
        self.unsettled_amount(request).await.map(Response::new)
    }
}
