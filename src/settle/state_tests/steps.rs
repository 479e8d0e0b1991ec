//! What a worker does next: whole turns of the creator and of the poller with scripted answers, and
//! the bounds of every turn.

use super::super::step::{Asked, Last, Progress, Role, Step, next_step};
use super::*;
use ReportedStatus::{Fail, Processing, Success};
use Role::{Creator, Poller};
use Scope::{Number, Single};
use Step::{Query, Rest, Send};

fn begun(role: Role, record: &Record) -> Progress {
    match role {
        Creator => Progress::of_creator(record),
        Poller => Progress::of_poller(record, 0, 0),
    }
}

/// Plays one turn at this second, as the loop in `gateway::turn` does, until it rests or the script
/// is used up. The insert permitted the creator's first send.
fn turn(play: &mut Play, role: Role, seconds: i64, script: &[Learned]) -> Vec<Step> {
    let mut progress = begun(role, &play.record);
    let mut script = script.iter();
    let mut steps = Vec::new();
    loop {
        let now = play.at(seconds).now;
        let step = next_step(&play.record, &progress, now, &play.policy);
        steps.push(step);
        match step {
            Rest => break,
            Send => {
                let permitted_by_insert = role == Creator && progress.sends == 0;
                assert!(permitted_by_insert || play.sends(), "a step that is never permitted");
                let Some(learned) = script.next() else { break };
                play.see(&answer(learned.clone()));
                progress.after_send(learned);
            }
            Query(scope) => {
                let Some(learned) = script.next() else { break };
                let seen = query(seconds, learned.clone());
                play.see(&Observation { scope, ..seen });
                progress.after_query(Asked::Learned(learned));
            }
        }
    }
    assert_eq!(script.len(), 0, "the turn ended before its script: {steps:?}");
    steps
}

#[test]
fn what_the_creator_does() {
    let two_reports = || found([theirs("ots9", Fail), ours("ots1", Processing)]);
    let cases: Vec<(&str, Vec<Learned>, Vec<Step>)> = vec![
        ("accepted", vec![accepted("ots1")], vec![Send, Rest]),
        ("refused", vec![refused()], vec![Send, Rest]),
        ("not sent", vec![not_sent()], vec![Send, Rest]),
        ("lost, then accepted", vec![timeout(), accepted("ots1")], vec![Send, Send, Rest]),
        (
            "lost, then refused: the query tells",
            vec![timeout(), refused(), found([ours("ots1", Success)])],
            vec![Send, Send, Query(Number), Rest],
        ),
        (
            "lost, then refused, and nothing to be seen yet",
            vec![timeout(), refused(), Learned::Absent],
            vec![Send, Send, Query(Number), Rest],
        ),
        (
            "lost, then 23111: ours",
            vec![system_error(), exists(), found([ours("ots1", Processing)])],
            vec![Send, Send, Query(Number), Rest],
        ),
        (
            "lost twice, and nothing to be seen",
            vec![timeout(), timeout(), Learned::Absent],
            vec![Send, Send, Query(Number), Rest],
        ),
        (
            "lost twice, and found",
            vec![timeout(), unlisted(99), two_reports()],
            vec![Send, Send, Query(Number), Rest],
        ),
        (
            "lost three times",
            vec![timeout(), timeout(), timeout()],
            vec![Send, Send, Query(Number), Rest],
        ),
        (
            "23111 at once: another system's",
            vec![exists(), found([theirs("ots9", Processing)])],
            vec![Send, Query(Number), Rest],
        ),
        (
            "23111 at once, and nothing to be seen",
            vec![exists(), Learned::Absent],
            vec![Send, Query(Number), Rest],
        ),
    ];
    for (case, script, steps) in cases {
        let mut play = Play::recorded();
        assert_eq!(turn(&mut play, Creator, 0, &script), steps, "{case}");
    }
}

#[test]
fn what_the_poller_does_with_a_settle_that_is_submitting() {
    let exists_1 = submitting_exists(1);
    let mut refused_once = Play::of(&submitting(2));
    refused_once.sees(&[answer(refused())]);
    let refused_once = refused_once.record;
    let cases: Vec<(&str, Record, Vec<Learned>, Vec<Step>)> = vec![
        (
            "it looks before it sends again",
            submitting(1),
            vec![Learned::Absent, accepted("ots1")],
            vec![Query(Number), Send, Rest],
        ),
        (
            "it sends once in a turn",
            submitting(1),
            vec![Learned::Absent, timeout()],
            vec![Query(Number), Send, Rest],
        ),
        ("found", submitting(1), vec![found([ours("ots1", Success)])], vec![Query(Number), Rest]),
        ("an unanswered query", submitting(1), vec![timeout()], vec![Query(Number), Rest]),
        (
            "23111 to its send",
            submitting(1),
            vec![Learned::Absent, exists(), found([ours("ots1", Processing)])],
            vec![Query(Number), Send, Query(Number), Rest],
        ),
        (
            "nothing unanswered: nothing to look for",
            submitting(0),
            vec![timeout(), Learned::Absent],
            vec![Send, Query(Number), Rest],
        ),
        ("after 23111 only a look", exists_1, vec![Learned::Absent], vec![Query(Number), Rest]),
        ("after a refusal too", refused_once, vec![Learned::Absent], vec![Query(Number), Rest]),
    ];
    for (case, before, script, steps) in cases {
        assert_eq!(turn(&mut Play::of(&before), Poller, 60, &script), steps, "{case}");
    }
}

#[test]
fn after_the_window_the_poller_only_looks() {
    for before in [submitting(0), submitting(1), submitting(2)] {
        for seconds in [SENDING_ENDS, WINDOW_END, WINDOW_END + HOUR] {
            let steps = turn(&mut Play::of(&before), Poller, seconds, &[Learned::Absent]);
            assert_eq!(steps, [Query(Number), Rest]);
        }
    }
}

#[test]
fn a_settle_at_douyin_is_asked_for_by_id_and_in_doubt_by_number() {
    for (unanswered, scope) in [(0, Single), (1, Number)] {
        let mut play = Play::of(&processing(unanswered));
        let script = [found([ours("ots1", Processing)])];
        assert_eq!(turn(&mut play, Poller, 60, &script), [Query(scope), Rest]);
    }
    let adopted = Record::adopted(key(), &bare("ots1", Processing), at(0));
    let script = [found([bare("ots1", Success)])];
    let steps = turn(&mut Play::of(&adopted), Poller, 60, &script);
    assert_eq!(steps, [Query(Single), Rest]);
}

#[test]
fn a_final_settle_is_left_alone_unless_it_is_contradicted() {
    for before in [succeeded(), failed(), rejected(), rejected_by_grace()] {
        assert_eq!(turn(&mut Play::of(&before), Poller, 60, &[]), [Rest]);
    }
    let mut play = Play::of(&succeeded());
    play.see(&callback(ours("ots1", Fail)));
    let script = [found([ours("ots1", Fail)])];
    assert!(matches!(turn(&mut play, Poller, 60, &script)[..], [Query(_), Rest]));
}

/// A query by the recorded id could only repeat what the record says.
#[test]
fn a_contradiction_about_another_settle_is_checked_by_number() {
    for before in [processing(0), succeeded(), failed()] {
        let mut play = Play::of(&before);
        assert_eq!(play.see(&callback_or_answer(&before)), Some(Alert::Contradiction));
        assert_eq!(turn(&mut play, Poller, 60, &[]), [Query(Number)]);
    }
}

fn callback_or_answer(before: &Record) -> Observation {
    if before.is_final() { callback(ours("ots2", Processing)) } else { answer(accepted("ots2")) }
}

/// With any record a turn is short, sends at most twice, and sends only with a durable permission.
#[test]
fn every_turn_is_short_whatever_the_answers_are() {
    let answers = [
        accepted("ots1"),
        refused(),
        timeout(),
        unlisted(99),
        not_sent(),
        exists(),
        Learned::Absent,
        found([ours("ots1", Fail)]),
        found([bare("ots1", Processing)]),
    ];
    let starts = [submitting(0), submitting(1), submitting_exists(0), submitting_exists(1)];
    for (start, role) in starts.iter().flat_map(|start| [(start, Poller), (start, Creator)]) {
        let mut open = vec![(Play::of(start), begun(role, start))];
        while let Some((play, progress)) = open.pop() {
            let step = next_step(&play.record, &progress, play.now, &play.policy);
            assert!(progress.sends <= 2 && progress.queries <= 2, "{progress:?}");
            if step == Rest {
                continue;
            }
            for learned in &answers {
                let (mut play, mut progress) = (play.clone(), progress.clone());
                match step {
                    Send => {
                        let first = role == Creator && progress.sends == 0;
                        assert!(first || play.sends(), "{:?}", play.record);
                        play.see(&answer(learned.clone()));
                        progress.after_send(learned);
                    }
                    Query(_) | Rest => {
                        play.see(&query(0, learned.clone()));
                        progress.after_query(Asked::Learned(learned));
                    }
                }
                open.push((play, progress));
            }
        }
    }
}

#[test]
fn a_throttled_turn_ends_at_once() {
    for role in [Creator, Poller] {
        for (sends, queries) in [(1, 0), (0, 1), (1, 1)] {
            let last = Last::Throttled;
            let progress = Progress { sends, queries, last, ..begun(role, &submitting(1)) };
            let step = next_step(&submitting(1), &progress, at(0), &Policy::default());
            assert_eq!(step, Rest);
        }
    }
}
