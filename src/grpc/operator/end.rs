//! EndSettle: an operator says how a settle in doubt ended.

use tonic::{Request, Status};
use tracing::info;

use super::super::admit::{by, in_system, name_span};
use super::super::audit::{Told, What};
use super::super::rpc::Rpc;
use super::super::status::{self, Names};
use super::super::violations::Violations;
use super::super::{Service, render};
use super::{check_revision, key};
use crate::gateway::{Decided, IfUnanswered, Word};
use crate::proto::v1;
use crate::settle::{AppId, End, Key, SettleId, Why};

impl Service {
    pub(super) async fn end(
        &self,
        request: Request<v1::EndSettleRequest>,
    ) -> Result<v1::EndSettleResponse, Status> {
        const RPC: Rpc = Rpc::EndSettle;
        let (deadline, mut identity) = (self.deadline(&request), self.identity(&request));
        let request = request.into_inner();
        let app_id = request.app_id.clone();
        let parsed = parse(request, self.config.default_app.as_ref());
        let asked = parsed.map_err(|bad| self.unfit(&identity, &app_id, bad, RPC))?;
        let Parsed { key, revision, end, if_unanswered, why } = asked;
        name_span(&key.app_id, key.out_settle_no.as_str());
        let names = Names::of_key(&key);
        let app = self.admit(&mut identity, &key.app_id, &names, RPC)?;
        in_system(app, key.trade_system, &names, RPC)?;
        let decided = Decided { by: identity.name().cloned(), why: why.clone() };
        let told = Told { why: Some(why.as_str()), ..Told::about(&names) };
        let begun = self.begun(What::Decision, RPC, &identity, told);
        let word = Word { revision, end, if_unanswered, decided };
        let ended = self.gateway.end(app, &key, word);
        let ended = by(deadline, &names, ended).await;
        let ended = ended.and_then(|done| done.map_err(|error| status::of_end(error, &names, RPC)));
        let state = ended.as_ref().ok().map(|record| record.state.kind().as_str());
        begun.ended(state, false, ended.as_ref().err());
        let record = ended?;
        let (state, revision) = (record.state.kind().as_str(), record.revision);
        let why = why.as_str();
        info!(%key, why, state, revision, "an operator ended a settle");
        Ok(v1::EndSettleResponse { settle: Some(render::settle(&record)) })
    }
}

/// An EndSettle whose fields are all right.
#[derive(Clone, Debug)]
struct Parsed {
    key: Key,
    revision: i64,
    end: End,
    if_unanswered: IfUnanswered,
    why: Why,
}

/// Parses an EndSettle; every violation at once.
fn parse(request: v1::EndSettleRequest, default_app: Option<&AppId>) -> Result<Parsed, Violations> {
    let mut bad = Violations::default();
    let v1::EndSettleRequest {
        app_id,
        trade_system,
        out_settle_no,
        revision,
        confirm_out_settle_no,
        outcome,
        settle_id,
        why,
        although_unanswered,
    } = request;
    let if_unanswered = if although_unanswered { IfUnanswered::End } else { IfUnanswered::Refuse };
    if confirm_out_settle_no != out_settle_no {
        bad.add("confirm_out_settle_no", "must be the same number as out_settle_no");
    }
    let key = key(&mut bad, (app_id, trade_system, out_settle_no), default_app);
    check_revision(&mut bad, revision);
    let end = outcome_of(&mut bad, outcome, settle_id);
    let why = bad.text("why", Why::parse(why));
    match (key, end, why) {
        (Some(key), Some(end), Some(why)) if bad.is_empty() => {
            Ok(Parsed { key, revision, end, if_unanswered, why })
        }
        (Some(_) | None, Some(_) | None, Some(_) | None) => Err(bad),
    }
}

fn outcome_of(bad: &mut Violations, outcome: i32, settle_id: String) -> Option<End> {
    let outcome = bad.enumeration("outcome", outcome)?;
    match outcome {
        v1::EndOutcome::Unspecified => {
            bad.add("outcome", "must say how the settle ended");
            None
        }
        v1::EndOutcome::Rejected if settle_id.is_empty() => Some(End::Rejected),
        v1::EndOutcome::Rejected => {
            bad.add("settle_id", "must be empty: a settle that Douyin never took has none");
            None
        }
        v1::EndOutcome::Succeeded => {
            let settle_id = bad.text("settle_id", SettleId::parse(settle_id))?;
            Some(End::Succeeded { settle_id })
        }
        v1::EndOutcome::Failed => {
            let settle_id = bad.text("settle_id", SettleId::parse(settle_id))?;
            Some(End::Failed { settle_id })
        }
    }
}
