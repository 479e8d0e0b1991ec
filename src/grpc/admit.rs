//! What the code of every RPC asks first and while it works: who calls, whether it may, and when
//! the answer must leave.
//!
//! What it must not know: what an RPC does.

use std::sync::Arc;

use tonic::{Request, Status};
use tracing::Span;

use super::Service;
use super::audit::{Audit, Begun, Told, What};
use super::deadline::Deadline;
use super::identity::{Denied, Identity};
use super::rpc::Rpc;
use super::server::shape::Entered;
use super::status::{self, Names};
use super::violations::Violations;
use crate::apps::App;
use crate::settle::{AppId, TradeSystem};

impl Service {
    /// The deadline of a request that has reached the code of its RPC.
    pub(super) fn deadline<T>(&self, request: &Request<T>) -> Deadline {
        Entered::mark(request);
        Deadline::of_request(request, self.config.unary_limit)
    }

    /// Who made a request.
    pub(super) fn identity<T>(&self, request: &Request<T>) -> Identity {
        let noted = request.extensions().get().cloned();
        let of = || {
            let (head, extensions) = (request.metadata().as_ref(), request.extensions());
            Identity::of(head, extensions, &self.admission.callers)
        };
        noted.unwrap_or_else(of)
    }

    /// The app of a call, if the caller may make such calls about it and it is served.
    pub(super) fn admit(
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

    /// The answer to a request whose fields are wrong. If the caller may not use its app, that is
    /// told instead.
    pub(super) fn unfit(
        &self,
        identity: &Identity,
        app_id: &str,
        violations: Violations,
        rpc: Rpc,
    ) -> Status {
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

    /// Notes in the audit what a caller does.
    pub(super) fn begun<'a>(
        &'a self,
        what: What,
        rpc: Rpc,
        identity: &'a Identity,
        told: Told<'a>,
    ) -> Begun<'a> {
        Begun::new(&self.admission.audit, what, rpc.name(), identity, told)
    }
}

/// Whether the app settles in this system.
pub(super) fn in_system(
    app: &App,
    system: TradeSystem,
    names: &Names,
    rpc: Rpc,
) -> Result<(), Status> {
    match app.has(system) {
        true => Ok(()),
        false => Err(status::system_not_configured(&app.config.trade_systems, names, rpc)),
    }
}

/// Notes what a call is about in its line of the log.
pub(super) fn name_span(app_id: &AppId, out_settle_no: &str) {
    Span::current().record("app_id", app_id.as_str()).record("out_settle_no", out_settle_no);
}

/// Ends the work of a call whose time is up. Creates are not called with it: they promise an
/// outcome.
pub(super) async fn by<T>(
    deadline: Deadline,
    names: &Names,
    work: impl Future<Output = T>,
) -> Result<T, Status> {
    let done = tokio::time::timeout_at(deadline.at, Box::pin(work)).await;
    done.map_err(|_| status::of_limit(deadline.limit, names))
}

/// Does the work of a call that may take long for as long as its caller may make such calls.
pub(super) async fn while_allowed<T>(
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
pub(super) fn denied_by(
    audit: &Audit,
    identity: &Identity,
    denied: Denied,
    names: &Names,
    rpc: Rpc,
) -> Status {
    audit.refused(rpc.name(), identity, Told::about(names), denied);
    status::denied(denied, names, rpc)
}
