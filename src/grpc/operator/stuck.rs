//! ListStuckSettles: the settles that do not come to their end, as the last look found them.

use tonic::{Request, Status};

use super::super::Service;
use super::super::admit::{denied_by, name_span};
use super::super::enums::{self, state};
use super::super::rpc::Rpc;
use super::super::status::{self, Names};
use super::super::time::time;
use super::super::violations::Violations;
use crate::gateway::{StuckReport, StuckSettle};
use crate::proto::v1;
use crate::settle::AppId;

/// Stuck settles in an answer: when the caller does not say, and at most.
const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1_000;

impl Service {
    pub(super) async fn list_stuck(
        &self,
        request: Request<v1::ListStuckSettlesRequest>,
    ) -> Result<v1::ListStuckSettlesResponse, Status> {
        const RPC: Rpc = Rpc::ListStuckSettles;
        let _ = self.deadline(&request);
        let mut identity = self.identity(&request);
        let parsed = parse(request.into_inner());
        let query = parsed.map_err(|violations| status::invalid(violations, RPC))?;
        if let Some(app_id) = &query.app_id {
            name_span(app_id, "");
            self.admit(&mut identity, app_id, &Names::of_app(app_id), RPC)?;
        } else {
            // Its body may have taken seconds to arrive.
            identity.look_again();
            let (audit, names) = (&self.admission.audit, Names::default());
            let may = identity.may(RPC.right());
            may.map_err(|denied| denied_by(audit, &identity, denied, &names, RPC))?;
        }
        let report = self.gateway.stuck();
        let may_know = |app_id: &AppId| identity.may_use(RPC.right(), app_id).is_ok();
        Ok(render(report, &query, may_know))
    }
}

/// A ListStuckSettles whose fields are all right.
#[derive(Clone, Debug)]
struct StuckQuery {
    /// `None`: all apps.
    app_id: Option<AppId>,
    limit: usize,
}

/// Parses a ListStuckSettles; every violation at once.
fn parse(request: v1::ListStuckSettlesRequest) -> Result<StuckQuery, Violations> {
    let mut bad = Violations::default();
    let app_id = bad.optional("app_id", request.app_id, AppId::parse);
    let limit = match usize::try_from(request.limit) {
        Ok(0) => LIMIT_DEFAULT,
        Ok(limit) => limit.min(LIMIT_MAX),
        Err(_) => {
            bad.add("limit", "must not be negative");
            LIMIT_DEFAULT
        }
    };
    if bad.is_empty() { Ok(StuckQuery { app_id, limit }) } else { Err(bad) }
}

/// What the last look at all settles found, as far as the caller may know it.
fn render(
    report: StuckReport,
    query: &StuckQuery,
    may_know: impl Fn(&AppId) -> bool,
) -> v1::ListStuckSettlesResponse {
    let is_told = |app_id: &AppId| {
        query.app_id.as_ref().is_none_or(|asked| asked == app_id) && may_know(app_id)
    };
    let counts = report.counts.iter().filter(|((app_id, _), _)| is_told(app_id));
    let counts = counts.map(|((app_id, kind), settles)| v1::StuckCount {
        app_id: app_id.to_string(),
        kind: kind.as_str().to_owned(),
        settles: i64::from(*settles),
    });
    let counts: Vec<_> = counts.collect();
    let settles = report.settles.iter().filter(|settle| is_told(&settle.key.app_id));
    let settles: Vec<_> = settles.take(query.limit).map(stuck_settle).collect();
    let total: i64 = counts.iter().map(|count| count.settles).sum();
    let listed = i64::try_from(settles.len()).unwrap_or(i64::MAX);
    let unlisted = total.saturating_sub(listed);
    v1::ListStuckSettlesResponse { looked_time: report.at.map(time), counts, settles, unlisted }
}

fn stuck_settle(settle: &StuckSettle) -> v1::StuckSettle {
    v1::StuckSettle {
        app_id: settle.key.app_id.to_string(),
        trade_system: enums::trade_system(settle.key.trade_system).into(),
        out_settle_no: settle.key.out_settle_no.to_string(),
        kind: settle.kind.as_str().to_owned(),
        state: settle.state.map_or(v1::SettleState::Unspecified, state).into(),
        since_time: Some(time(settle.since)),
    }
}
