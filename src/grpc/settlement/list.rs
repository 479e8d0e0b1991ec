//! ListSettles: what is recorded of an app, newest first, page by page. `page` has the tokens.

use tonic::{Request, Status};

use super::super::admit::{by, name_span};
use super::super::deadline::Deadline;
use super::super::rpc::Rpc;
use super::super::server::bounds::{Connection, Kind};
use super::super::status::{self, Names};
use super::super::violations::Violations;
use super::super::{Service, enums, render};
use super::page;
use crate::proto::v1;
use crate::settle::{AppId, OutOrderNo, StateKind};
use crate::store::ListQuery;

/// Settles in a page: when the caller does not say, and at most.
const PAGE_DEFAULT: u32 = 50;
const PAGE_MAX: u32 = 500;

impl Service {
    pub(super) async fn list(
        &self,
        request: Request<v1::ListSettlesRequest>,
    ) -> Result<v1::ListSettlesResponse, Status> {
        let (deadline, mut identity) = (self.deadline(&request), self.identity(&request));
        let connection = Connection::of(request.extensions(), &self.process);
        let request = request.into_inner();
        let app_id = request.app_id.clone();
        let query = parse(request, self.config.default_app.as_ref());
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
            let settles: Vec<_> = listed.records.iter().map(render::settle).collect();
            let fitting = page::fitting(&settles);
            if fitting == settles.len() {
                let next = listed.next.map(|position| page::token(&query, position));
                let next_page_token = next.unwrap_or_default();
                return Ok(v1::ListSettlesResponse { settles, next_page_token });
            }
            query.settles_max = u32::try_from(fitting).unwrap_or(u32::MAX);
        }
    }
}

/// Parses a ListSettles; every violation at once.
pub fn parse(
    request: v1::ListSettlesRequest,
    default_app: Option<&AppId>,
) -> Result<ListQuery, Violations> {
    let mut bad = Violations::default();
    let app_id = bad.app_id(request.app_id, default_app);
    let out_order_no = bad.optional("out_order_no", request.out_order_no, OutOrderNo::parse);
    let named = bad.enumeration::<v1::TradeSystem>("trade_system", request.trade_system);
    let named = named.filter(|named| *named != v1::TradeSystem::Unspecified);
    let trade_system = named.map(enums::asked);
    let mut states = Vec::new();
    for (i, value) in request.states.into_iter().enumerate() {
        let field = format!("states[{i}]");
        match bad.enumeration(&field, value) {
            Some(v1::SettleState::Unspecified) => bad.add(field, "must be a state"),
            Some(v1::SettleState::Submitting) => states.push(StateKind::Submitting),
            Some(v1::SettleState::Processing) => states.push(StateKind::Processing),
            Some(v1::SettleState::Succeeded) => states.push(StateKind::Succeeded),
            Some(v1::SettleState::Failed) => states.push(StateKind::Failed),
            Some(v1::SettleState::Rejected) => states.push(StateKind::Rejected),
            None => {}
        }
    }
    states.sort_unstable_by_key(|state| state.as_str());
    states.dedup();
    let from = bad.optional_time("create_time_from", request.create_time_from);
    let until = bad.optional_time("create_time_until", request.create_time_until);
    if let (Some(from), Some(until)) = (from, until)
        && until <= from
    {
        bad.add("create_time_until", "must be later than create_time_from");
    }
    let settles_max = match u32::try_from(request.page_size) {
        Ok(0) => PAGE_DEFAULT,
        Ok(size) => size.min(PAGE_MAX),
        Err(_) => {
            bad.add("page_size", "must not be negative");
            PAGE_DEFAULT
        }
    };
    let Some(app_id) = app_id else {
        return Err(bad);
    };
    let mut query = ListQuery {
        app_id,
        out_order_no,
        trade_system,
        states,
        from,
        until,
        after: None,
        settles_max,
    };
    if !request.page_token.is_empty() {
        query.after = page::position(&query, &request.page_token);
        if query.after.is_none() {
            bad.add("page_token", "was not made by the gateway for these filters");
        }
    }
    if bad.is_empty() { Ok(query) } else { Err(bad) }
}
