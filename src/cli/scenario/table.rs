//! THE SCENARIOS: what each of them does, in one table, which is also their documentation.
//!
//! What it must not know: how it is done.

use std::fmt::Write as _;
use std::time::Duration;

use clap::ValueEnum as _;
use douyin_sim::Script;

use super::Scenario;
use super::act::{Act, End, Told};
use crate::douyin::codes::{self, Handling, Row};
use crate::settle::TradeSystem;

/// What a scenario does.
pub(in crate::cli) struct Plan {
    /// What a caller meets, in a sentence.
    pub(in crate::cli) meets: &'static str,
    /// From Douyin's acceptance of a settle to its end.
    pub(in crate::cli) processing_ms: u64,
    /// What happens to the first watches and waits of each number.
    pub(super) follows: Vec<Act>,
    /// How long the gateway runs before it is stopped and started again; `None`: it stays.
    pub(super) runs_for: Option<Duration>,
    /// What happens to single numbers. Each has one of these.
    pub(in crate::cli) courses: Vec<Course>,
}

/// What happens to one number.
pub(in crate::cli) struct Course {
    /// What happens, for people.
    pub(in crate::cli) what: String,
    /// What its settle comes to at Douyin.
    pub(in crate::cli) comes_to: ComesTo,
    /// What Douyin does with the first requests about it.
    pub(super) douyin: Douyin,
    /// What the front does with its first creates.
    pub(super) creates: Vec<Act>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::cli) enum ComesTo {
    Success,
    Failure,
    Refusal,
}

#[derive(Clone, Default)]
pub(super) struct Douyin {
    pub(super) creates: Vec<Script>,
    pub(super) queries: Vec<Script>,
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl Scenario {
    pub(in crate::cli) fn plan(self) -> Plan {
        match self {
            Scenario::Rotate => rotate(),
            Scenario::Busy => busy(),
            Scenario::Slow => slow(),
            Scenario::Refuse => refuse(),
            Scenario::Lost => lost(),
            Scenario::Restart => restart(),
        }
    }
}

fn rotate() -> Plan {
    Plan {
        meets: "The first five streams of each settle end after 0.3 s or less: as when a stream \
                gets too old, the gateway stops, a mesh loses its upstream, a stream is reset and \
                a connection breaks. The settle goes on meanwhile, so its end can come while no \
                stream is open.",
        processing_ms: 4_000,
        follows: vec![
            Act::EndAfter(ms(300), End::Told(Told::Rotated)),
            Act::EndAfter(ms(300), End::Told(Told::Draining)),
            Act::EndAfter(ms(200), End::Mesh),
            Act::EndAfter(ms(100), End::Reset),
            Act::EndAfter(ms(100), End::Cut),
        ],
        runs_for: None,
        courses: vec![
            Course::new("the settle succeeds"),
            Course { comes_to: ComesTo::Failure, ..Course::new("the settle fails") },
        ],
    }
}

fn busy() -> Plan {
    Plan {
        meets: "Creates are answered UNAVAILABLE or RESOURCE_EXHAUSTED, with RetryInfo; some with \
                the outcome `not_sent`, some with `unknown`, although Douyin takes the settle.",
        processing_ms: 2_000,
        follows: Vec::new(),
        runs_for: None,
        courses: vec![
            Course::new(
                "the gateway is stopping, then it is overloaded, then it cannot say what it \
                         has recorded",
            )
            .creates([
                Act::TurnAway(End::Told(Told::Draining)),
                Act::TurnAway(End::Told(Told::Overloaded)),
                Act::Lose(End::Told(Told::Store)),
            ]),
            Course::new(
                "Douyin reports trouble of its own, has taken the settle all the same, and \
                         does not show it at first",
            )
            .douyin(
                [Script::apply_then(Script::Refuse(23_000)), Script::Refuse(2_100_004)],
                [Script::FindNothing, Script::FindNothing, Script::FindNothing],
            ),
        ],
    }
}

fn slow() -> Plan {
    let late = Act::Late(ms(5_000));
    Plan {
        meets: "Answers come 5 s late, the beginnings of streams too. A caller with a shorter \
                deadline hears DEADLINE_EXCEEDED, with the gateway's details or without any.",
        processing_ms: 2_000,
        follows: vec![late],
        runs_for: None,
        courses: vec![
            Course::new("Douyin takes the settle at once and answers late")
                .douyin([Script::apply_then(Script::delay(5_000, Script::Normal))], []),
            Course::new("the answers of the gateway are late").creates([late, late]),
        ],
    }
}

fn refuse() -> Plan {
    let reasons = reasons();
    Plan {
        meets: "Douyin refuses each settle, for each of its reasons once.",
        processing_ms: 1_500,
        follows: Vec::new(),
        runs_for: None,
        courses: reasons
            .into_iter()
            .map(|row| Course {
                comes_to: ComesTo::Refusal,
                ..Course::new(row.reason.as_str()).douyin([Script::Refuse(row.err_no.into())], [])
            })
            .collect(),
    }
}

fn lost() -> Plan {
    let lose = |end| [Act::Lose(end), Act::Lose(end)];
    Plan {
        meets: "The answers to the first creates are lost, after Douyin has taken the settle.",
        processing_ms: 2_000,
        follows: Vec::new(),
        runs_for: None,
        courses: vec![
            Course::new("a mesh says UNAVAILABLE, without details").creates(lose(End::Mesh)),
            Course::new("the stream is reset").creates(lose(End::Reset)),
            Course::new("the connection breaks").creates(lose(End::Cut)),
            Course::new("a balancer answers with a page of HTML").creates(lose(End::Page)),
            Course::new("Douyin's answers are lost, on their way to the gateway").douyin(
                [Script::apply_then(Script::Drop), Script::Drop],
                [Script::FindNothing, Script::Drop],
            ),
            Course {
                comes_to: ComesTo::Failure,
                ..Course::new("the stream is reset, and the settle fails").creates(lose(End::Reset))
            },
        ],
    }
}

fn restart() -> Plan {
    Plan {
        meets: "The gateway runs for 2.5 s and is away for 1 s, again and again: stopped, which \
                its streams are told, or cut off in the middle of everything.",
        processing_ms: 5_000,
        follows: Vec::new(),
        runs_for: Some(ms(2_500)),
        courses: vec![
            Course::new("while a stream is open"),
            Course::new("while Douyin's answer is on its way")
                .douyin([Script::apply_then(Script::delay(3_000, Script::Normal))], []),
        ],
    }
}

/// The first number of each reason with which Douyin refuses.
fn reasons() -> Vec<&'static Row> {
    let mut rows = codes::rows(TradeSystem::General);
    rows.retain(|row| row.handling == Handling::Refused);
    let mut seen = Vec::new();
    rows.retain(|row| {
        let is_new = !seen.contains(&row.reason);
        seen.push(row.reason);
        is_new
    });
    rows
}

impl Course {
    fn new(what: &str) -> Self {
        Self {
            what: what.to_owned(),
            comes_to: ComesTo::Success,
            douyin: Douyin::default(),
            creates: Vec::new(),
        }
    }

    fn creates<const N: usize>(self, creates: [Act; N]) -> Self {
        Self { creates: creates.to_vec(), ..self }
    }

    fn douyin<const C: usize, const Q: usize>(
        self,
        creates: [Script; C],
        queries: [Script; Q],
    ) -> Self {
        let douyin = Douyin { creates: creates.to_vec(), queries: queries.to_vec() };
        Self { douyin, ..self }
    }
}

/// The table, for docs/testing-your-client.md.
pub(in crate::cli) fn markdown() -> String {
    let mut page =
        "| scenario | what a caller meets | the courses of single settles |\n".to_owned();
    page += "| --- | --- | --- |\n";
    for scenario in Scenario::value_variants() {
        let plan = scenario.plan();
        let courses: Vec<_> = plan.courses.iter().map(|course| course.what.as_str()).collect();
        let (name, meets) = (scenario.name(), plan.meets);
        let _ = writeln!(page, "| `{name}` | {meets} | {} |", courses.join("; "));
    }
    page
}
