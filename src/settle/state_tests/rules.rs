//! The rules below the table about permission, proof, facts, contradictions and revisions.

use super::super::proof::{Proof, pick, proof};
use super::*;
use ReportedStatus::{Fail, Init, Processing, Success, Unlisted};
use StateKind as In;

#[test]
fn recording_a_settle_permits_and_counts_its_first_send() {
    let record = Play::recorded().record;
    assert_eq!(record.state, State::Submitting);
    let first = permission(ME, 0, at(0));
    assert_eq!((record.evidence.open, record.evidence.lost), (vec![first], 0));
    assert_eq!(record.evidence.last_permission, Some(first));
    assert_eq!((record.version, record.revision), (1, 1));
}

#[test]
fn a_send_is_permitted_only_while_submitting_and_before_the_last_grace_of_the_window() {
    let play = Play::recorded();
    let mut inside = play.clone();
    inside.now = just_before(at(SENDING_ENDS));
    assert!(inside.sends());
    let mut outside = play.clone();
    assert!(!outside.at(SENDING_ENDS).sends());
    assert!(!outside.at(WINDOW_END).sends());
    assert!(!outside.at(WINDOW_END + HOUR).sends());
}

#[test]
fn no_send_is_permitted_in_any_other_state_nor_for_a_strangers_settle() {
    let adopted = Record::adopted(key(), &theirs("ots9", Processing), at(0));
    let mut taken = Play::of(&submitting(0));
    taken.sees(&[callback(theirs("ots9", Processing))]);
    let all = [
        processing(0),
        processing(1),
        succeeded(),
        failed(),
        rejected(),
        rejected_by_grace(),
        adopted,
        taken.record,
    ];
    for record in all {
        assert!(!Play::of(&record).sends(), "{record:?}");
    }
}

#[test]
fn nothing_is_sent_after_a_sign_that_the_number_is_taken_or_refused() {
    let signs = [
        ("23111", answer(exists())),
        ("FAIL of ours", callback(ours("ots1", Fail))),
        ("a stranger", callback(theirs("ots9", Processing))),
        ("a settle that proves nothing", callback(bare("ots9", Processing))),
        ("an unlisted status", callback(ours("ots1", Unlisted))),
        ("a refusal", answer(refused())),
    ];
    for (sign, seen) in signs {
        let mut play = Play::of(&submitting(2));
        play.sees(&[seen]);
        assert_eq!(play.kind(), In::Submitting, "{sign}");
        assert!(!play.sends(), "{sign}");
        assert!(!play.at(GRACE_OVER).sends(), "{sign}: nor after the grace");
    }
}

#[test]
fn an_unknown_outcome_or_an_empty_query_leaves_sending_permitted() {
    for seen in [answer(timeout()), answer(not_sent()), query(0, Learned::Absent)] {
        let mut play = Play::recorded();
        assert!(play.sees(&[seen]).sends());
    }
}

struct Claim {
    sent: Mark,
    item: Option<&'static str>,
    cp_extra: Option<&'static str>,
    order: Option<&'static str>,
    unanswered: u32,
}

const MARKED: &str = "the mark";
const SHOWN: Claim =
    Claim { sent: Mark::On, item: None, cp_extra: None, order: None, unanswered: 1 };

#[test]
fn the_mark_or_else_the_visible_facts_prove_whose_settle_it_is() {
    use Proof::{Foreign, Ours, Unproven};
    let claims = [
        (Claim { cp_extra: Some(MARKED), ..SHOWN }, Ours),
        (Claim { cp_extra: Some(MARKED), unanswered: 0, ..SHOWN }, Ours),
        (Claim { cp_extra: Some(MARKED), order: Some("order-1"), ..SHOWN }, Ours),
        (Claim { cp_extra: Some(MARKED), order: Some("order-2"), ..SHOWN }, Foreign),
        (Claim { cp_extra: Some(MARKED), item: Some("item-9"), ..SHOWN }, Foreign),
        (Claim { cp_extra: Some("sg1:other"), order: Some("order-1"), ..SHOWN }, Foreign),
        (Claim { cp_extra: Some(""), order: Some("order-1"), ..SHOWN }, Foreign),
        (Claim { order: Some("order-1"), ..SHOWN }, Ours),
        (Claim { order: Some("order-1"), unanswered: 0, ..SHOWN }, Unproven),
        (Claim { order: Some("order-2"), ..SHOWN }, Foreign),
        (Claim { item: Some("item-9"), ..SHOWN }, Foreign),
        (Claim { item: Some(""), ..SHOWN }, Unproven),
        (SHOWN, Unproven),
        (Claim { sent: Mark::Off, ..SHOWN }, Unproven),
        (Claim { sent: Mark::Off, order: Some("order-1"), ..SHOWN }, Ours),
        (Claim { sent: Mark::Off, order: Some("order-2"), ..SHOWN }, Foreign),
        (Claim { sent: Mark::Off, cp_extra: Some(""), order: Some("order-1"), ..SHOWN }, Ours),
        (Claim { sent: Mark::Off, cp_extra: Some("x"), order: Some("order-1"), ..SHOWN }, Foreign),
    ];
    for (number, (claim, expected)) in claims.into_iter().enumerate() {
        let mut record = Play::with(claim.sent).record;
        record.evidence.open.clear();
        record.evidence.lost = claim.unanswered;
        let mark = content().mark();
        let mut report = bare("ots1", Processing);
        report.item = claim.item.map(str::to_owned);
        report.facts.out_order_no = claim.order.map(|order| OutOrderNo::parse(order).unwrap());
        let cp_extra = claim.cp_extra.map(|text| if text == MARKED { &mark } else { text });
        report.facts.cp_extra = cp_extra.map(str::to_owned);
        assert_eq!(proof(&record, &report), expected, "line {number}: {report:?}");
    }
}

#[test]
fn the_callers_own_ext_goes_out_instead_of_the_mark() {
    let with_ext = Content { ext: Some(Ext::parse("mine").unwrap()), ..content() };
    assert_eq!(Request::ext_for(&with_ext, Mark::On), Some("mine".to_owned()));
    assert_eq!(Request::ext_for(&with_ext, Mark::Off), Some("mine".to_owned()));
    assert_eq!(Request::ext_for(&content(), Mark::On), Some(content().mark()));
    assert_eq!(Request::ext_for(&content(), Mark::Off), None);
}

/// Foreign contradicts "our settle_id, order, item or mark". A caller's own text of up to 2048
/// bytes may come back trimmed or re-encoded. If that read as foreign, the settle would be paid
/// twice.
#[test]
fn a_callers_own_ext_that_comes_back_altered_makes_no_stranger_of_our_settle() {
    let mut play = Play::recorded();
    let own = Content { ext: Some(Ext::parse("mine \r\n").unwrap()), ..content() };
    let sent_ext = Request::ext_for(&own, Mark::On);
    let request = Request::new(own, sent_ext, "{}".to_owned(), at(WINDOW_END));
    play.record.origin = Origin::Gateway(request);
    let mut report = bare("ots1", Processing);
    report.facts.out_order_no = Some(content().out_order_no);
    report.facts.cp_extra = Some("mine".to_owned());
    play.at(GRACE_OVER).see(&query(GRACE_OVER, found([report])));
    assert!(play.record.request().is_some(), "told that another system has the number");
}

#[test]
fn a_settle_that_proves_nothing_only_stops_sending_while_a_send_is_unanswered() {
    for status in [Init, Processing, Success, Fail, Unlisted] {
        let mut play = Play::of(&submitting(1));
        let alert = play.at(GRACE_OVER).see(&query(GRACE_OVER, found([bare("ots1", status)])));
        assert_eq!(alert, Some(Alert::Unproven), "nothing but a person can end it");
        assert_eq!(play.kind(), In::Submitting);
        assert!(play.record.request().is_some());
        assert!(!play.sends());
    }
}

/// "If the mark (or ext, order, item and receivers where visible) proves the same content it is
/// adopted as ours; else OUT_SETTLE_NO_EXISTS". Otherwise the caller would wait for ever.
#[test]
fn a_settle_that_proves_nothing_is_a_strangers_once_all_our_sends_were_answered_otherwise() {
    let mut report = bare("ots9", Processing);
    report.facts.out_order_no = Some(content().out_order_no);
    let mut play = Play::of(&submitting_exists(0));
    play.at(GRACE_OVER).see(&query(GRACE_OVER, found([report])));
    assert_eq!(play.record.origin, Origin::Platform);
}

/// A caller that repeats the create learns why the number is taken, also after that settle ended.
#[test]
fn why_a_number_was_not_ours_is_kept_as_long_as_the_record() {
    let mut play = Play::of(&submitting_exists(0));
    for status in [Init, Processing, Success] {
        play.see(&callback(theirs("ots9", status)));
        assert_eq!(play.record.evidence.refused, Some(number_taken()), "{status:?}");
    }
    assert!(play.record.is_final());
}

/// Callbacks: "a callback that meets a row with neither its settle_id nor its mark is checked by a
/// query before it ends the settle".
#[test]
fn a_callback_with_neither_our_id_nor_our_mark_ends_nothing() {
    for status in [Success, Fail] {
        let mut report = bare("ots9", status);
        report.facts.out_order_no = Some(content().out_order_no);
        let mut play = Play::of(&submitting(1));
        play.see(&callback(report));
        assert!(!play.record.is_final(), "{status:?}: {:?}", play.record.state);
    }
}

#[test]
fn of_several_settles_the_live_one_of_ours_is_followed() {
    let fresh = submitting(1);
    let recorded = processing(1);
    let mut adopted = fresh.clone();
    adopted.origin = Origin::Platform;
    adopted.state = State::Processing { settle_id: id("ots1") };
    let cases = [
        (&fresh, vec![theirs("a", Success), ours("b", Processing)], "b"),
        (&fresh, vec![ours("a", Fail), ours("b", Processing)], "b"),
        (&fresh, vec![theirs("a", Processing), ours("b", Fail)], "b"),
        (&fresh, vec![bare("a", Processing), ours("b", Fail)], "b"),
        (&fresh, vec![theirs("a", Fail), theirs("b", Success)], "b"),
        (&recorded, vec![ours("a", Fail), ours("ots1", Fail)], "ots1"),
        (&recorded, vec![ours("ots1", Fail), ours("b", Processing)], "b"),
        (&recorded, vec![theirs("a", Processing), ours("ots1", Processing)], "ots1"),
        (&adopted, vec![theirs("a", Processing), theirs("ots1", Fail)], "ots1"),
    ];
    for (record, reports, followed) in cases {
        for reports in [reports.clone(), reports.into_iter().rev().collect()] {
            let picked = pick(record, &reports).unwrap();
            assert_eq!(picked.settle_id, id(followed), "{reports:?}");
        }
    }
    assert_eq!(pick(&fresh, &[]), None);
}

/// A report of the recorded settle names it by its id, and need not show the mark.
#[test]
fn the_recorded_settle_is_never_passed_over_for_a_stranger() {
    let reports = [theirs("ots9", Processing), bare("ots1", Success)];
    let picked = pick(&processing(0), &reports).unwrap();
    assert_eq!(picked.settle_id, id("ots1"));
    let reports = [theirs("ots9", Success), bare("ots1", Fail)];
    let picked = pick(&processing(0), &reports).unwrap();
    assert_eq!(picked.settle_id, id("ots1"));
}

#[test]
fn the_record_leaves_a_failed_settle_for_a_live_one_of_ours_and_takes_none_of_its_facts() {
    for status in [Init, Processing, Success] {
        let mut play = Play::of(&processing(1));
        let mut first = ours("ots1", Processing);
        first.facts.order_id = Some(OrderId::parse("mot1").unwrap());
        play.sees(&[callback(first), callback(ours("ots1", Fail))]);
        let mut second = ours("ots2", status);
        second.facts.order_id = Some(OrderId::parse("mot2").unwrap());
        play.sees(&[query(1, found([ours("ots1", Fail), second]))]);
        assert_eq!(play.record.state.settle_id(), Some(&id("ots2")));
        assert_eq!(play.record.facts.order_id, Some(OrderId::parse("mot2").unwrap()));
        assert_eq!(play.record.contradiction, None);
    }
}

#[test]
fn a_live_settle_of_ours_is_not_followed_while_the_recorded_one_has_not_failed() {
    let mut play = Play::of(&processing(1));
    let alert = play.see(&query(1, found([ours("ots2", Success)])));
    assert_eq!(alert, Some(Alert::ForeignSettle));
    assert_eq!(play.record.state.settle_id(), Some(&id("ots1")));
}

#[test]
fn both_settles_failed_is_failed_after_the_grace() {
    let mut play = Play::of(&processing(1));
    let reports = || found([ours("ots1", Fail), ours("ots2", Fail)]);
    play.at(60).sees(&[query(60, reports())]);
    assert_eq!(play.kind(), In::Processing);
    play.at(GRACE_OVER).sees(&[query(GRACE_OVER, reports())]);
    assert_eq!(play.record.state, State::Failed { settle_id: id("ots1") });
}

/// It is ours and known, so a repeated callback must not raise an alert.
#[test]
fn a_late_callback_of_the_failed_settle_that_was_left_raises_no_alarm() {
    let mut play = Play::of(&processing(1));
    play.sees(&[callback(ours("ots1", Fail)), answer(accepted("ots2"))]);
    let before = play.record.clone();
    assert_eq!(play.see(&callback(ours("ots1", Fail))), None);
    assert_eq!(play.record, before);
}

#[test]
fn an_acceptance_of_a_settle_known_to_have_failed_contradicts_nothing() {
    let mut play = Play::of(&submitting(2));
    play.sees(&[callback(ours("ots1", Fail)), answer(accepted("ots2"))]);
    assert_eq!(play.see(&answer(accepted("ots1"))), None);
    assert_eq!(play.record.contradiction, None);
    assert_eq!(play.record.state, State::Processing { settle_id: id("ots2") });
}

#[test]
fn a_contradiction_changes_no_state_and_the_first_one_stays() {
    let mut play = Play::of(&succeeded());
    let state = play.record.state.clone();
    play.at(60).see(&callback(ours("ots1", Fail)));
    let first = play.record.contradiction.clone().unwrap();
    assert_eq!((first.claimed, first.time), (In::Failed, at(60)));
    assert_eq!(first.source, Source::Callback);
    let revision = play.record.revision;
    assert_eq!(play.at(90).see(&callback(ours("ots1", Fail))), Some(Alert::Contradiction));
    assert_eq!(play.see(&callback(ours("ots2", Success))), Some(Alert::Contradiction));
    assert_eq!(play.record.contradiction, Some(first));
    assert_eq!((play.record.state, play.record.revision), (state, revision));
}

#[test]
fn a_second_settle_of_ours_after_a_final_state_is_a_contradiction() {
    for before in [succeeded(), failed()] {
        for status in [Init, Processing, Success] {
            let mut play = Play::of(&before);
            let alert = play.see(&callback(ours("ots2", status)));
            assert_eq!(alert, Some(Alert::Contradiction));
            assert_eq!(play.record.state, before.state);
            assert_eq!(play.record.contradiction.unwrap().settle_id, id("ots2"));
        }
    }
}

#[test]
fn missing_facts_are_filled_in_even_in_a_final_state_and_differing_ones_kept_out() {
    for (before, status) in [(succeeded(), Success), (failed(), Fail)] {
        let mut play = Play::of(&before);
        let mut report = ours("ots1", status);
        report.facts.settle_amount = Some(Fen::new(100));
        play.sees(&[callback(report.clone())]);
        assert_eq!(play.record.revision, before.revision + 1);
        assert_eq!(play.record.facts.settle_amount, Some(Fen::new(100)));
        report.facts.rake = Some(Fen::new(1));
        report.facts.settle_amount = Some(Fen::new(999));
        assert_eq!(play.see(&callback(report)), Some(Alert::DifferingFact));
        assert_eq!(play.record.facts.settle_amount, Some(Fen::new(100)));
        assert_eq!(play.record.facts.rake, Some(Fen::new(1)), "the rest is filled in");
        assert_eq!(play.kind(), before.state.kind());
    }
}

/// No document says that amounts from before the end are the final ones.
#[test]
fn amounts_shown_before_the_end_are_not_kept() {
    for early in [Init, Processing] {
        let mut play = Play::of(&processing(0));
        let mut report = ours("ots1", early);
        report.facts.rake = Some(Fen::new(0));
        report.facts.order_id = Some(OrderId::parse("mot1").unwrap());
        play.sees(&[callback(report)]);
        assert_eq!(play.record.facts.rake, None);
        assert!(play.record.facts.order_id.is_some(), "an id does not change");
        let mut last = ours("ots1", Success);
        last.facts.rake = Some(Fen::new(7));
        play.sees(&[callback(last)]);
        assert_eq!(play.record.facts.rake, Some(Fen::new(7)));
    }
}

#[test]
fn a_callers_settle_keeps_its_own_content_and_an_adopted_one_shows_douyins() {
    let mut play = Play::of(&submitting(1));
    let mut report = ours("ots1", Processing);
    report.facts.out_order_no = Some(content().out_order_no);
    play.sees(&[callback(report.clone())]);
    assert_eq!((&play.record.facts.out_order_no, &play.record.facts.cp_extra), (&None, &None));
    let mut play = Play::of(&Record::adopted(key(), &bare("ots1", Init), at(0)));
    play.sees(&[callback(report.clone())]);
    assert_eq!(play.record.facts.out_order_no, report.facts.out_order_no);
    assert_eq!(play.record.facts.cp_extra, report.facts.cp_extra);
}

#[test]
fn an_adopted_settle_follows_its_own_id_and_no_other() {
    let adopted = Record::adopted(key(), &bare("ots1", Unlisted), at(0));
    assert_eq!(adopted.state.kind(), In::Processing);
    for (status, state) in [(Success, In::Succeeded), (Fail, In::Failed)] {
        let mut play = Play::of(&adopted);
        assert_eq!(play.see(&callback(bare("ots2", status))), Some(Alert::ForeignSettle));
        assert_eq!(play.kind(), In::Processing);
        play.sees(&[callback(bare("ots1", status))]);
        assert_eq!(play.kind(), state);
    }
}

/// The first send was accepted unseen, failed, and freed the number for the second one. Its FAIL is
/// not another system's while that first send is unanswered, in any state of the second settle.
#[test]
fn a_late_fail_of_ours_that_an_unanswered_send_explains_raises_no_alarm() {
    let late = callback(ours("ots0", Fail));
    for status in [Processing, Success] {
        for (unanswered, alert) in [(1, None), (0, Some(Alert::ForeignSettle))] {
            let mut play = Play::of(&processing(unanswered));
            play.sees(&[callback(ours("ots1", status))]);
            let before = play.record.clone();
            assert_eq!(play.see(&late), alert, "{status:?}, {unanswered} unanswered");
            let evidence = before.evidence.clone();
            let version = before.version;
            let after = play.record.clone();
            assert_eq!(Record { evidence, version, ..after }, before);
            assert_eq!(play.record.evidence.has_failed(&id("ots0")), unanswered > 0);
        }
    }
    let mut play = Play::of(&processing(1));
    let strange = callback(theirs("ots0", Fail));
    assert_eq!(play.see(&strange), Some(Alert::ForeignSettle));
}

#[test]
fn douyins_raw_status_only_moves_forward() {
    let mut play = Play::of(&processing(0));
    let later = [Init, Processing, Init, Unlisted, Processing, Success, Unlisted, Init];
    let words = ["INIT", "PROCESSING", "PROCESSING", "FROZEN", "FROZEN", "SUCCESS", "SUCCESS"];
    for (status, word) in later.into_iter().zip(words) {
        play.sees(&[callback(ours("ots1", status))]);
        assert_eq!(play.record.facts.settle_status.as_deref(), Some(word));
    }
    // Of two unlisted words neither is the later one.
    let mut held = ours("ots1", Unlisted);
    held.facts.settle_status = Some("HELD".to_owned());
    let mut play = Play::of(&processing(0));
    play.sees(&[callback(ours("ots1", Unlisted)), callback(held)]);
    assert_eq!(play.record.facts.settle_status.as_deref(), Some("FROZEN"));
}

#[test]
fn a_fail_that_ends_the_settle_leaves_nothing_to_remember() {
    assert_eq!(failed().evidence.failed, []);
}

#[test]
fn only_another_kind_of_last_error_is_news() {
    let mut play = Play::recorded();
    play.sees(&[answer(system_error())]);
    let (version, revision) = (play.record.version, play.record.revision);
    let mut same_kind = failure(Reason::SystemError, 23000);
    if let Some(said) = &mut same_kind.douyin {
        said.log_id = "log-2".to_owned();
        said.err_msg = "said so again".to_owned();
    }
    play.at(60).sees(&[answer(Learned::Unknown(same_kind.clone()))]);
    assert_eq!((play.record.version, play.record.revision), (version + 1, revision));
    assert_eq!(play.record.last_error, Some(same_kind), "the newest words are kept");
    play.sees(&[answer(Learned::Unknown(failure(Reason::SystemError, 13000)))]);
    assert_eq!(play.record.revision, revision + 1);
    play.sees(&[answer(timeout())]);
    assert_eq!(play.record.revision, revision + 2);
}

#[test]
fn a_settle_that_got_on_has_no_last_error() {
    for seen in [answer(accepted("ots1")), callback(ours("ots1", Success))] {
        let mut play = Play::recorded();
        play.sees(&[answer(timeout()), seen]);
        assert_eq!(play.record.last_error, None);
    }
}

#[test]
fn history_names_the_error_of_the_revision() {
    let entry = rejected().history_entry(Source::Create, Some("log-1".to_owned()));
    assert_eq!((entry.revision, entry.state), (2, In::Rejected));
    assert_eq!(entry.error, Some(no_money()));
    let mut play = Play::recorded();
    play.sees(&[answer(timeout())]);
    let entry = play.record.history_entry(Source::Create, None);
    assert_eq!(entry.error, Some(Failure::own(Reason::UpstreamTimeout)));
}
