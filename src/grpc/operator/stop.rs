//! StopSending: an operator says that a settle is not to be sent any more.

use tonic::{Request, Status};
use tracing::info;

use super::super::Service;
use super::super::admit::{by, name_span};
use super::super::audit::{Told, What};
use super::super::render::settle;
use super::super::rpc::Rpc;
use super::super::status::{self, Names};
use super::super::violations::Violations;
use super::{check_revision, key};
use crate::gateway::{Decided, Stopping};
use crate::proto::v1;
use crate::settle::{AppId, Key, Why};

impl Service {
    pub(super) async fn stop(
        &self,
        request: Request<v1::StopSendingRequest>,
    ) -> Result<v1::StopSendingResponse, Status> {
        const RPC: Rpc = Rpc::StopSending;
        let (deadline, mut identity) = (self.deadline(&request), self.identity(&request));
        let request = request.into_inner();
        let app_id = request.app_id.clone();
        let parsed = parse(request, self.config.default_app.as_ref());
        let asked = parsed.map_err(|bad| self.unfit(&identity, &app_id, bad, RPC))?;
        let Parsed { key, revision, why } = asked;
        name_span(&key.app_id, key.out_settle_no.as_str());
        let names = Names::of_key(&key);
        self.admit(&mut identity, &key.app_id, &names, RPC)?;
        let decided = Decided { by: identity.name().cloned(), why: why.clone() };
        let told = Told { why: Some(why.as_str()), ..Told::about(&names) };
        let begun = self.begun(What::Decision, RPC, &identity, told);
        let stopped = self.gateway.stop_sending(&key, revision, decided);
        let stopped = by(deadline, &names, stopped).await;
        let stopped =
            stopped.and_then(|done| done.map_err(|error| status::of_end(error, &names, RPC)));
        let state = stopped.as_ref().ok().map(|done| done.record.state.kind().as_str());
        begun.ended(state, false, stopped.as_ref().err());
        let stopped = stopped?;
        let (revision, why) = (stopped.record.revision, why.as_str());
        info!(%key, why, revision, wait = ?stopped.wait, "an operator stopped sending");
        Ok(render(&stopped))
    }
}

/// A StopSending whose fields are all right.
#[derive(Clone, Debug)]
struct Parsed {
    key: Key,
    revision: i64,
    why: Why,
}

/// Parses a StopSending; every violation at once.
fn parse(
    request: v1::StopSendingRequest,
    default_app: Option<&AppId>,
) -> Result<Parsed, Violations> {
    let mut bad = Violations::default();
    let v1::StopSendingRequest { app_id, trade_system, out_settle_no, revision, why } = request;
    let key = key(&mut bad, (app_id, trade_system, out_settle_no), default_app);
    check_revision(&mut bad, revision);
    let why = bad.text("why", Why::parse(why));
    match (key, why) {
        (Some(key), Some(why)) if bad.is_empty() => Ok(Parsed { key, revision, why }),
        (Some(_) | None, Some(_) | None) => Err(bad),
    }
}

/// A settle of which nothing is sent any more.
fn render(stopping: &Stopping) -> v1::StopSendingResponse {
    v1::StopSendingResponse {
        settle: Some(settle(&stopping.record)),
        // A wait is hours at most.
        wait: prost_types::Duration::try_from(stopping.wait).ok(),
    }
}
