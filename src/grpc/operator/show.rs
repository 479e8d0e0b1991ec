//! ShowSettle: all that is known of one settle.

use tonic::{Request, Status};

use super::super::Service;
use super::super::admit::by;
use super::super::name::Asked;
use super::super::reasons::Outcome;
use super::super::render::{history_entry, settle, settle_error};
use super::super::rpc::Rpc;
use super::super::status;
use super::super::time::time;
use crate::gateway::Shown;
use crate::proto::v1;
use crate::settle::{Record, SettleId};

impl Service {
    pub(super) async fn show(
        &self,
        request: Request<v1::ShowSettleRequest>,
    ) -> Result<v1::ShowSettleResponse, Status> {
        let (deadline, mut identity) = (self.deadline(&request), self.identity(&request));
        let v1::ShowSettleRequest { app_id, trade_system, key } = request.into_inner();
        let asked = Asked { app_id, trade_system, key: key.into(), after_revision: 0 };
        let (_, name, names) = self.name(&mut identity, asked, Rpc::ShowSettle)?;
        let shown = by(deadline, &names, self.gateway.show(&name)).await?;
        let shown = shown.map_err(|error| status::of_store(&error, &names, Rpc::ShowSettle))?;
        let shown = shown.ok_or_else(|| status::not_found(&names, Rpc::ShowSettle))?;
        Ok(render(&shown))
    }
}

/// A settle with all that is known of it.
fn render(shown: &Shown) -> v1::ShowSettleResponse {
    v1::ShowSettleResponse {
        settle: Some(settle(&shown.record)),
        history: shown.history.iter().map(history_entry).collect(),
        evidence: Some(evidence(&shown.record, shown.attempts)),
        outlook: Some(v1::SettleOutlook {
            explanation: shown.explanation.words.clone(),
            until: shown.explanation.until.map(time),
            next_check_time: shown.next_check.map(time),
            stuck_kind: shown.stuck.map(|kind| kind.as_str().to_owned()),
        }),
    }
}

fn evidence(record: &Record, attempts: u32) -> v1::SettleEvidence {
    let evidence = &record.evidence;
    let unlisted = evidence.unlisted.as_ref();
    let count = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    v1::SettleEvidence {
        unanswered_sends: count(evidence.unanswered()),
        last_send_time: evidence.last_permission.map(|permission| time(permission.time)),
        exists_since: evidence.exists_seen.map(time),
        refused: evidence.refused.as_ref().map(|failure| settle_error(failure, Outcome::Unknown)),
        failed_settle_id: evidence.failed.last().map(SettleId::to_string),
        unlisted: unlisted.map(|seen| settle_error(&seen.failure, Outcome::Unknown)),
        unlisted_times: unlisted.map_or(0, |seen| count(seen.times)),
        set_back: evidence.set_back,
        sending_stopped: evidence.stopped,
        stop_confirmed: evidence.stop_confirmed,
        attempts: count(attempts),
        sent_ext: record.request().and_then(|request| request.sent_ext.clone()),
    }
}
