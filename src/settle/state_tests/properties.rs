//! What holds for any sequence of permissions and observations, even a senseless one. A failure
//! prints the shortest such sequence that was found, and the seed.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::test_runner::{Config, RngSeed};

use super::*;
use ReportedStatus::{Fail, Init, Processing, Success, Unlisted};
use StateKind as In;

/// One step of a sequence: time passes, then a send is asked for or something is learned.
#[derive(Clone, Debug)]
enum Move {
    Permit { seconds: i64 },
    See { seconds: i64, seen: Seen },
}

#[derive(Clone, Debug)]
struct Seen {
    learned: Learned,
    source: Source,
    scope: Scope,
    answers: Option<PermissionId>,
    /// How long ago the call began that learned it.
    seconds_ago: i64,
    lease: Lease,
    attempts: u32,
}

/// A record before an observation, the observation, and the record after it.
struct Seeing {
    before: Record,
    seen: Observation,
    lease: Lease,
    after: Record,
    alert: Option<Alert>,
    policy: Policy,
}

fn statuses() -> impl Strategy<Value = ReportedStatus> {
    select(vec![Init, Processing, Success, Fail, Unlisted])
}

fn reports() -> impl Strategy<Value = Report> {
    let makers = select(vec![ours, theirs, bare, ours]);
    let facts = (any::<bool>(), 0..3_i64);
    (makers, select(vec!["ots1", "ots2"]), statuses(), facts).prop_map(
        |(make, settle_id, status, (order, fen))| {
            let mut report = make(settle_id, status);
            if order {
                report.facts.out_order_no = Some(content().out_order_no);
            }
            report.facts.settle_amount = (fen > 0).then(|| Fen::new(fen));
            report
        },
    )
}

fn learned() -> impl Strategy<Value = Learned> {
    let wallet = |settle_id| {
        let wallet_settle_id = Some(WalletSettleId::parse("w").unwrap());
        let inner_settle_id = Some(InnerSettleId::parse("i").unwrap());
        Learned::Accepted(AcceptedIds {
            settle_id: id(settle_id),
            wallet_settle_id,
            inner_settle_id,
        })
    };
    let plain = vec![
        accepted("ots1"),
        accepted("ots2"),
        wallet("ots1"),
        refused(),
        Learned::Refused(failure(Reason::OrderNotPaid, 23102)),
        timeout(),
        system_error(),
        unlisted(99),
        unlisted(98),
        not_sent(),
        exists(),
        Learned::Absent,
        Learned::Absent,
        Learned::Absent,
    ];
    prop_oneof![
        2 => select(plain),
        1 => prop::collection::vec(reports(), 1..4).prop_map(|mut reports| {
            reports.sort_by(|one, other| one.settle_id.cmp(&other.settle_id));
            reports.dedup_by(|one, other| one.settle_id == other.settle_id);
            Learned::Reported(reports)
        }),
    ]
}

fn seens() -> impl Strategy<Value = Seen> {
    let sources = select(vec![Source::Create, Source::Query, Source::Callback]);
    let scopes = select(vec![Scope::Number, Scope::Number, Scope::Single]);
    let ago = select(vec![0, 10, 700, 4_000]);
    let leases = select(vec![Lease::Held, Lease::Held, Lease::Held, Lease::Lost]);
    let rest = (sources, scopes, any::<bool>(), ago, leases, select(vec![0_u32, 9, 10, 10, 10]));
    (learned(), rest).prop_map(
        |(learned, (source, scope, one_send, seconds_ago, lease, attempts))| {
            let answers = one_send.then_some(SOME_OPEN);
            Seen { learned, source, scope, answers, seconds_ago, lease, attempts }
        },
    )
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let seconds = || select(vec![0, 0, 0, 1, 300, 610, 3_600, 90_000, 259_200]);
    let one = prop_oneof![
        1 => seconds().prop_map(|seconds| Move::Permit { seconds }),
        4 => (seconds(), seens()).prop_map(|(seconds, seen)| Move::See { seconds, seen }),
    ];
    prop::collection::vec(one, 1..24)
}

/// Plays a sequence and shows every observation to `check`.
fn play(moves: &[Move], mut check: impl FnMut(&Seeing)) {
    let mut play = Play::recorded();
    for step in moves {
        match step {
            Move::Permit { seconds } => {
                play.now = play.now.plus(seconds_of(*seconds));
                play.sends();
            }
            Move::See { seconds, seen } => {
                play.now = play.now.plus(seconds_of(*seconds));
                play.lease = seen.lease;
                play.attempts = seen.attempts;
                let observation = Observation {
                    learned: seen.learned.clone(),
                    source: seen.source,
                    begun: play.now.minus(seconds_of(seen.seconds_ago)),
                    scope: seen.scope,
                    answers: seen.answers,
                    log_id: None,
                    by: None,
                };
                let before = play.record.clone();
                let alert = play.see(&observation);
                check(&Seeing {
                    before,
                    seen: observation,
                    lease: seen.lease,
                    after: play.record.clone(),
                    alert,
                    policy: play.policy.clone(),
                });
            }
        }
    }
}

fn seconds_of(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap())
}

impl Seeing {
    /// A query that saw everything we ever sent, recorded under the lease.
    fn sees_all(&self) -> bool {
        let sent = self.before.evidence.last_permission.unwrap().time;
        self.seen.scope == Scope::Number
            && self.lease == Lease::Held
            && self.seen.begun >= sent.plus(Duration::from_secs(10 + 600))
    }

    fn entered(&self, kind: StateKind) -> bool {
        self.before.state.kind() != kind && self.after.state.kind() == kind
    }
}

/// Every property prints its seed. `PROPTEST_RNG_SEED` sets it, `PROPTEST_CASES` how many cases.
fn config() -> Config {
    let mut config = Config { failure_persistence: None, ..Config::default() };
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(RandomState::new().build_hasher().finish());
    }
    eprintln!("PROPTEST_RNG_SEED={}", config.rng_seed);
    config
}

proptest! {
    #![proptest_config(config())]

    /// `Play` checks the counting itself, at every step of every test.
    #[test]
    fn versions_and_revisions_only_grow_and_only_with_a_reason(moves in moves()) {
        let (mut version, mut revision) = (1, 1);
        play(&moves, |seeing| {
            assert!(seeing.after.version >= version && seeing.after.revision >= revision);
            (version, revision) = (seeing.after.version, seeing.after.revision);
        });
    }

    #[test]
    fn a_final_state_is_left_only_out_of_rejected_for_a_live_settle_of_ours_and_never_silently(
        moves in moves(),
    ) {
        play(&moves, |Seeing { before, after, alert, .. }| {
            if !before.is_final() || before.state == after.state {
                return;
            }
            assert_eq!(before.state.kind(), In::Rejected);
            assert!(matches!(after.state.kind(), In::Processing | In::Succeeded));
            assert_eq!(*alert, Some(Alert::AliveAfterRejection));
        });
    }

    /// Except evidence that counts repeats; two other tests check that.
    #[test]
    fn duplicates_change_nothing(moves in moves()) {
        play(&moves, |Seeing { before, seen, lease, after, policy, .. }| {
            let counts = matches!(seen.learned, Learned::Unlisted(_) | Learned::Absent);
            if seen.answers.is_some() || counts {
                return;
            }
            let last = after.evidence.last_permission;
            let permitted = last.map_or(after.update_time, |last| last.time);
            let now = after.update_time.max(permitted).plus(Duration::from_secs(60));
            let context = Context { lease: *lease, ..context(after, now, policy) };
            let twice = transition(after, seen, &context);
            assert_eq!(twice.record, *after, "{seen:?} twice on {before:?}");
        });
    }

    #[test]
    fn an_answer_is_subtracted_once_and_only_a_definite_one(moves in moves()) {
        play(&moves, |Seeing { before, seen, lease, after, .. }| {
            let (old, new) = (before.evidence.unanswered(), after.evidence.unanswered());
            if after.origin != before.origin {
                assert_eq!(new, 0);
                return;
            }
            let definite = match seen.learned {
                Learned::Accepted(_) | Learned::Exists(_) => true,
                Learned::Refused(_) | Learned::NotSent(_) => *lease == Lease::Held,
                Learned::Unknown(_) | Learned::Unlisted(_) => false,
                Learned::Reported(_) | Learned::Absent => false,
                Learned::Elsewhere | Learned::Resolved { .. } => false,
                Learned::Stopped { .. } | Learned::Ended(_) => false,
            };
            let answers = u32::from(definite && seen.answers.is_some());
            assert!(new == old || new == old.saturating_sub(answers), "{old} to {new}");
        });
    }

    #[test]
    fn nothing_is_sent_any_more_once_something_forbade_it(moves in moves()) {
        let mut forbidden = None;
        play(&moves, |Seeing { seen, lease, after, policy, .. }| {
            let fact = matches!(
                seen.learned,
                Learned::Exists(_) | Learned::Accepted(_) | Learned::Reported(_)
            );
            let refusal = matches!(seen.learned, Learned::Refused(_)) && *lease == Lease::Held;
            if fact || refusal {
                forbidden.get_or_insert(seen.clone());
            }
            for now in [at(0), after.update_time, at(SENDING_ENDS)] {
                let one = permission(ME, 0, now);
                let permitted = permit(after, one, None, policy).is_some();
                let allowed = after.state == State::Submitting
                    && forbidden.is_none()
                    && now < at(SENDING_ENDS);
                assert!(!permitted || allowed, "after {forbidden:?}");
            }
        });
    }

    /// REJECTED means that a refusal answered every send, or that an empty query saw all of them.
    #[test]
    fn a_rejection_has_a_proof(moves in moves()) {
        play(&moves, |seeing| {
            if !seeing.entered(In::Rejected) {
                return;
            }
            let all_answered = !seeing.after.evidence.in_doubt();
            if matches!(seeing.seen.learned, Learned::Refused(_)) {
                assert!(all_answered && seeing.before.evidence.exists_seen.is_none());
                assert_eq!(seeing.lease, Lease::Held);
            } else {
                assert_eq!(seeing.seen.learned, Learned::Absent);
                assert!(seeing.sees_all());
            }
        });
    }

    #[test]
    fn a_failure_or_a_stranger_ends_a_settle_only_if_no_send_is_in_doubt(moves in moves()) {
        play(&moves, |seeing| {
            let Seeing { before, after, .. } = seeing;
            let taken_over = before.origin != after.origin;
            if taken_over || seeing.entered(In::Failed) && before.request().is_some() {
                assert!(!before.evidence.in_doubt() || seeing.sees_all());
            }
        });
    }

    #[test]
    fn a_known_fact_changes_only_with_the_settle_itself(moves in moves()) {
        play(&moves, |Seeing { before, after, .. }| {
            let same_settle = before.state.settle_id().is_some()
                && before.state.settle_id() == after.state.settle_id();
            if same_settle && before.facts.settle_amount.is_some() {
                assert_eq!(before.facts.settle_amount, after.facts.settle_amount);
            }
            if same_settle && before.facts.wallet_settle_id.is_some() {
                assert_eq!(before.facts.wallet_settle_id, after.facts.wallet_settle_id);
            }
        });
    }

    #[test]
    fn any_order_of_consistent_news_ends_in_the_same_state_with_the_same_facts(
        (news, end) in consistent_news(),
    ) {
        let mut play = Play::recorded();
        for seen in &news {
            assert_eq!(play.see(seen), None);
        }
        // A FAIL before the acceptance ended nothing, so Douyin is asked once more.
        play.sees(&[query_by_id(60, found([end.clone()]))]);
        let state = if end.status == Success { In::Succeeded } else { In::Failed };
        assert_eq!(play.kind(), state);
        assert_eq!(play.record.contradiction, None);
        assert_eq!(play.record.last_error, None);
        let mut facts = all_facts(end.status);
        (facts.out_order_no, facts.cp_extra) = (None, None);
        assert_eq!(play.record.facts, facts);
    }
}

fn all_facts(status: ReportedStatus) -> Facts {
    Facts {
        wallet_settle_id: Some(WalletSettleId::parse("w").unwrap()),
        inner_settle_id: Some(InnerSettleId::parse("i").unwrap()),
        order_id: Some(OrderId::parse("mot1").unwrap()),
        out_order_no: Some(content().out_order_no),
        item_order_id: None,
        cp_extra: Some(content().mark()),
        settle_status: bare("ots1", status).facts.settle_status,
        settle_amount: Some(Fen::new(150)),
        rake: Some(Fen::new(1)),
        commission: Some(Fen::new(0)),
        platform_ticket: Some(Fen::new(2)),
        settle_detail: Some("detail".to_owned()),
        message: Some("message".to_owned()),
        settle_time: Some(at(5)),
        auto_settle: Some(false),
    }
}

/// A report that shows only some of the facts, but always the mark.
fn partial(status: ReportedStatus, shown: &[usize]) -> Report {
    let mut report = ours("ots1", status);
    report.facts = all_facts(status);
    let facts = &mut report.facts;
    let hide: [fn(&mut Facts); 11] = [
        |facts| facts.wallet_settle_id = None,
        |facts| facts.inner_settle_id = None,
        |facts| facts.order_id = None,
        |facts| facts.out_order_no = None,
        |facts| facts.settle_amount = None,
        |facts| facts.rake = None,
        |facts| facts.commission = None,
        |facts| facts.platform_ticket = None,
        |facts| facts.settle_detail = None,
        |facts| facts.message = None,
        |facts| facts.settle_time = None,
    ];
    for (number, hide) in hide.into_iter().enumerate() {
        if !shown.contains(&number) {
            hide(facts);
        }
    }
    report
}

/// Reports of one settle in any order, each perhaps twice, and Douyin's last report. The reports
/// that can be recorded show every fact together.
fn consistent_news() -> impl Strategy<Value = (Vec<Observation>, Report)> {
    let shown = || subsequence((0..11).collect::<Vec<_>>(), 0..=11);
    let middle = (shown(), shown(), select(vec![Success, Fail]), any::<[bool; 6]>());
    middle.prop_flat_map(|(first, second, last, flags)| {
        let everything: Vec<usize> = (0..11).collect();
        let end = partial(last, &everything);
        let wallet_settle_id = flags[0].then(|| WalletSettleId::parse("w").unwrap());
        let inner_settle_id = flags[1].then(|| InnerSettleId::parse("i").unwrap());
        let ids = AcceptedIds { settle_id: id("ots1"), wallet_settle_id, inner_settle_id };
        let mut news = vec![
            callback(end.clone()),
            query(0, found([partial(Processing, &second)])),
            query(0, found([partial(Init, &first)])),
            callback(partial(last, &second)),
        ];
        let twice: Vec<_> = news
            .iter()
            .zip(flags)
            .filter(|(_, twice)| *twice)
            .map(|(seen, _)| seen.clone())
            .collect();
        news.extend(twice);
        news.push(answer(Learned::Accepted(ids.clone())));
        if flags[5] {
            news.push(again(answer(Learned::Accepted(ids))));
        }
        (Just(news).prop_shuffle(), Just(end))
    })
}
