//! ResolveContradiction: an operator says which of two words about a settle stands.

use tonic::{Request, Status};
use tracing::info;

use super::super::admit::{by, name_span};
use super::super::audit::{Told, What};
use super::super::rpc::Rpc;
use super::super::status::{self, Names};
use super::super::violations::Violations;
use super::super::{Service, render};
use super::{check_revision, key};
use crate::gateway::Decided;
use crate::proto::v1;
use crate::settle::{AppId, Key, Verdict, Why};

impl Service {
    pub(super) async fn resolve(
        &self,
        request: Request<v1::ResolveContradictionRequest>,
    ) -> Result<v1::ResolveContradictionResponse, Status> {
        const RPC: Rpc = Rpc::ResolveContradiction;
        let (deadline, mut identity) = (self.deadline(&request), self.identity(&request));
        let request = request.into_inner();
        let app_id = request.app_id.clone();
        let parsed = parse(request, self.config.default_app.as_ref());
        let asked = parsed.map_err(|bad| self.unfit(&identity, &app_id, bad, RPC))?;
        let Parsed { key, revision, verdict, why } = asked;
        name_span(&key.app_id, key.out_settle_no.as_str());
        let names = Names::of_key(&key);
        self.admit(&mut identity, &key.app_id, &names, RPC)?;
        let decided = Decided { by: identity.name().cloned(), why: why.clone() };
        let told = Told { why: Some(why.as_str()), ..Told::about(&names) };
        let begun = self.begun(What::Decision, RPC, &identity, told);
        let resolved = self.gateway.resolve(&key, revision, verdict, decided);
        let resolved = by(deadline, &names, resolved).await;
        let resolved =
            resolved.and_then(|done| done.map_err(|error| status::of_resolve(error, &names, RPC)));
        let state = resolved.as_ref().ok().map(|record| record.state.kind().as_str());
        begun.ended(state, false, resolved.as_ref().err());
        let record = resolved?;
        let (state, revision) = (record.state.kind().as_str(), record.revision);
        let why = why.as_str();
        info!(%key, ?verdict, why, state, revision, "an operator resolved a contradiction");
        Ok(v1::ResolveContradictionResponse { settle: Some(render::settle(&record)) })
    }
}

/// A ResolveContradiction whose fields are all right.
#[derive(Clone, Debug)]
struct Parsed {
    key: Key,
    revision: i64,
    verdict: Verdict,
    why: Why,
}

/// Parses a ResolveContradiction; every violation at once.
fn parse(
    request: v1::ResolveContradictionRequest,
    default_app: Option<&AppId>,
) -> Result<Parsed, Violations> {
    let mut bad = Violations::default();
    let v1::ResolveContradictionRequest {
        app_id,
        trade_system,
        out_settle_no,
        revision,
        keep,
        why,
    } = request;
    let key = key(&mut bad, (app_id, trade_system, out_settle_no), default_app);
    check_revision(&mut bad, revision);
    let verdict = match bad.enumeration("keep", keep) {
        Some(v1::KeptWord::Recorded) => Some(Verdict::Recorded),
        Some(v1::KeptWord::Claimed) => Some(Verdict::Claimed),
        Some(v1::KeptWord::Unspecified) => {
            bad.add("keep", "must say which word stands");
            None
        }
        None => None,
    };
    let why = bad.text("why", Why::parse(why));
    match (key, verdict, why) {
        (Some(key), Some(verdict), Some(why)) if bad.is_empty() => {
            Ok(Parsed { key, revision, verdict, why })
        }
        (Some(_) | None, Some(_) | None, Some(_) | None) => Err(bad),
    }
}
