//! Whether a client paid its intent exactly once and said the truth, by the simulator's books.
//!
//! What it must not know: the scenario.

use std::fmt;
use std::time::Duration;

use douyin_sim::{AppliedSettle, Simulator, Status};
use tokio::time::{Instant, sleep};
use tonic::transport::Endpoint;

use super::client::{Ended, Intent, Said};
use crate::proto::v1::settlement_service_client::SettlementServiceClient;
use crate::proto::v1::{ListSettlesRequest, Settle, SettleState};

/// How long settles may take to their end once the client has ended.
const END_TIME_MAX: Duration = Duration::from_secs(60);
/// How often that is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// What became of an intent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    PaidOnce,
    /// And the client knows it.
    NotPaid,
    PaidAgain {
        numbers: Vec<String>,
    },
    /// The client says something else than the books.
    Untrue {
        truth: &'static str,
    },
    /// The client ended before the settle did.
    GaveUp {
        truth: &'static str,
    },
    /// 0 goes with a state, and no other code does.
    WrongExitCode,
    /// The settle does not come to its end, which is no fault of the client.
    NoEnd,
}

impl Verdict {
    pub(super) fn is_wrong(&self) -> bool {
        match self {
            Verdict::PaidOnce | Verdict::NotPaid => false,
            Verdict::PaidAgain { .. }
            | Verdict::Untrue { .. }
            | Verdict::GaveUp { .. }
            | Verdict::WrongExitCode
            | Verdict::NoEnd => true,
        }
    }
}

/// Waits until all settles of the order are at their end, and compares.
pub(super) async fn judge(intent: &Intent, ended: &Ended, simulator: &Simulator) -> Verdict {
    let Some(recorded) = final_settles(intent).await else { return Verdict::NoEnd };
    let books = simulator.books();
    let alive = |settle: &&AppliedSettle| {
        settle.out_order_no == intent.out_order_no && settle.status != Status::Fail
    };
    let paid: Vec<_> = books.settles.iter().filter(alive).collect();
    compare(&paid, recorded.is_empty(), ended)
}

fn compare(paid: &[&AppliedSettle], is_unheard: bool, ended: &Ended) -> Verdict {
    let truth = match (paid, is_unheard) {
        ([], true) => "the gateway never heard of it",
        ([], false) => "it was not paid",
        ([_], _) => "it was paid",
        (several, _) => {
            let numbers = several.iter().map(|settle| settle.out_settle_no.clone()).collect();
            return Verdict::PaidAgain { numbers };
        }
    };
    let Some(said) = ended.said else { return Verdict::GaveUp { truth } };
    let verdict = match said {
        Said::NotSent | Said::Unknown => return Verdict::GaveUp { truth },
        Said::Succeeded if paid.len() == 1 => Verdict::PaidOnce,
        Said::Failed | Said::Rejected | Said::Refused if paid.is_empty() && !is_unheard => {
            Verdict::NotPaid
        }
        Said::Succeeded | Said::Failed | Said::Rejected | Said::Refused => {
            return Verdict::Untrue { truth };
        }
    };
    match said.is_state() == (ended.exit_code == Some(0)) {
        true => verdict,
        false => Verdict::WrongExitCode,
    }
}

/// The settles of the order that the gateway has recorded; `None`: some do not end.
async fn final_settles(intent: &Intent) -> Option<Vec<Settle>> {
    let endpoint = Endpoint::from_shared(format!("http://{}", intent.addr)).ok()?;
    let mut client = SettlementServiceClient::new(endpoint.connect_lazy());
    let until = Instant::now() + END_TIME_MAX;
    while Instant::now() < until {
        let request = ListSettlesRequest {
            app_id: intent.app_id.to_owned(),
            out_order_no: intent.out_order_no.clone(),
            ..Default::default()
        };
        // The gateway may be away.
        if let Ok(listed) = client.list_settles(request).await {
            let settles = listed.into_inner().settles;
            if settles.iter().all(is_final) {
                return Some(settles);
            }
        }
        sleep(LOOK_INTERVAL).await;
    }
    None
}

fn is_final(settle: &Settle) -> bool {
    match settle.state() {
        SettleState::Succeeded | SettleState::Failed | SettleState::Rejected => true,
        SettleState::Unspecified | SettleState::Submitting | SettleState::Processing => false,
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::PaidOnce => f.write_str("paid once"),
            Verdict::NotPaid => f.write_str("not paid"),
            Verdict::PaidAgain { numbers } => {
                write!(f, "PAID {} TIMES, under {}", numbers.len(), numbers.join(", "))
            }
            Verdict::Untrue { truth } => write!(f, "the report is not true: {truth}"),
            Verdict::GaveUp { truth } => write!(f, "the client does not know the end: {truth}"),
            Verdict::WrongExitCode => {
                f.write_str("the exit code must be 0 with a final state, and another one without")
            }
            Verdict::NoEnd => f.write_str("the gateway did not bring it to its end"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(said: Option<Said>, exit_code: i32) -> Ended {
        Ended { said, exit_code: Some(exit_code), printed: String::new() }
    }

    #[test]
    fn only_the_truth_with_its_exit_code_is_right_about_an_intent_that_was_not_paid() {
        let said = |word, code| compare(&[], false, &ended(word, code));
        assert_eq!(said(Some(Said::Refused), 1), Verdict::NotPaid);
        assert_eq!(said(Some(Said::Failed), 0), Verdict::NotPaid);
        assert_eq!(said(Some(Said::Failed), 1), Verdict::WrongExitCode);
        let truth = "it was not paid";
        assert_eq!(said(Some(Said::Succeeded), 0), Verdict::Untrue { truth });
        assert_eq!(said(Some(Said::Unknown), 1), Verdict::GaveUp { truth });
        assert_eq!(said(None, 0), Verdict::GaveUp { truth });
    }

    #[test]
    fn a_client_that_never_called_has_not_been_refused() {
        let truth = "the gateway never heard of it";
        let said = compare(&[], true, &ended(Some(Said::Refused), 1));
        assert_eq!(said, Verdict::Untrue { truth });
    }
}
