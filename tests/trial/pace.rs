//! How many requests for one app all gateways together send to Douyin: no more than the app's
//! budget, however many gateways there are.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::plan::Plan;

/// When the requests of the last [`WINDOW`] left, by app.
#[derive(Default)]
pub struct Pace(BTreeMap<String, VecDeque<Duration>>);

const WINDOW: Duration = Duration::from_secs(60);

impl Pace {
    /// A request leaves. Answers how many have left in the window, if that is more than may.
    pub fn leaves(&mut self, plan: &Plan, app_id: &str, now: Duration) -> Option<usize> {
        let left = self.0.entry(app_id.to_owned()).or_default();
        left.push_back(now);
        while left.front().is_some_and(|first| *first + WINDOW < now) {
            left.pop_front();
        }
        (left.len() > most(plan)).then_some(left.len())
    }
}

/// The budget of a window, which is at least two requests per second and gateway: one for polling
/// and one for creates. Half as much again while gateways come and go, because one that comes has
/// its part at once, and the others give theirs up within ten seconds. And what goes out at once
/// when a gateway starts, which happens ten times at most.
fn most(plan: &Plan) -> usize {
    let whole = usize::try_from(plan.knobs.budget.requests_per_second).expect("a small number");
    let per_second = whole.max(2 * plan.replicas);
    per_second * (90 + 10)
}
