//! Settles that are not at their end: a round finds every one of them, and no other.

use std::collections::BTreeSet;

use super::Subject;
use super::fixtures::*;
use crate::settle::*;
use crate::store::{NewDue, Store, Unfinished, UnfinishedCursor};

fn state(number: &str, kind: StateKind) -> Record {
    let settle_id = settle_id(&format!("ots-{number}"));
    adopted(
        key(number),
        match kind {
            StateKind::Succeeded => State::Succeeded { settle_id },
            StateKind::Failed => State::Failed { settle_id },
            StateKind::Rejected => {
                State::Rejected { rejection: Failure::own(Reason::SubmissionExpired) }
            }
            StateKind::Submitting | StateKind::Processing => State::Processing { settle_id },
        },
    )
}

fn disputed(record: Record, resolved: bool) -> Record {
    let contradiction = Contradiction {
        claimed: StateKind::Failed,
        settle_id: settle_id("ots-claimed"),
        source: Source::Callback,
        time: NOW,
        resolved: resolved.then_some(NOW),
    };
    Record { contradiction: Some(contradiction), ..record }
}

/// The numbers of a round in steps of `rows_max`; those that cannot be read have a mark.
async fn round(store: &Store, rows_max: u32) -> Vec<String> {
    let (mut cursor, mut found) = (UnfinishedCursor::default(), Vec::new());
    loop {
        let page = store.unfinished(cursor, rows_max).await.unwrap();
        assert!(page.settles.len() <= usize::try_from(rows_max).unwrap());
        found.extend(page.settles.into_iter().map(|settle| match settle {
            Unfinished::Settle(record) => record.key.out_settle_no.to_string(),
            Unfinished::Unreadable(key) => format!("unreadable {}", key.out_settle_no),
        }));
        match page.next {
            Some(next) => cursor = next,
            None => return found,
        }
    }
}

pub(super) async fn a_round_finds_everything_that_is_not_at_its_end_whatever_its_steps(
    subject: Subject,
) {
    let store = &subject.store;
    assert_eq!(round(store, 10).await, Vec::<String>::new());
    let mut expected = BTreeSet::new();
    for n in 0..7 {
        let open =
            [submitted(key(&format!("s{n}"))), state(&format!("p{n}"), StateKind::Processing)];
        let disputed_ones = [
            disputed(state(&format!("d{n}"), StateKind::Succeeded), false),
            disputed(state(&format!("e{n}"), StateKind::Processing), false),
        ];
        for record in open.into_iter().chain(disputed_ones) {
            expected.insert(record.key.out_settle_no.to_string());
            insert(store, &record, NewDue::None).await;
        }
        for record in [
            state(&format!("x{n}"), StateKind::Succeeded),
            state(&format!("y{n}"), StateKind::Rejected),
            disputed(state(&format!("z{n}"), StateKind::Failed), true),
        ] {
            insert(store, &record, NewDue::None).await;
        }
    }
    for rows_max in [1, 2, 3, 100] {
        let found = round(store, rows_max).await;
        assert_eq!(found.len(), expected.len(), "once each: {found:?}");
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
    }
}

pub(super) async fn a_settle_that_cannot_be_read_is_not_at_its_end(subject: Subject) {
    let store = &subject.store;
    insert(store, &submitted(key("1")), NewDue::None).await;
    insert(store, &submitted(key("2")), NewDue::None).await;
    insert(store, &state("3", StateKind::Succeeded), NewDue::None).await;
    subject.overwrite(&key("1"), "state", "FROZEN").await;
    subject.overwrite(&key("2"), "origin", "NEWER").await;
    let found: BTreeSet<_> = round(store, 1).await.into_iter().collect();
    assert_eq!(found, BTreeSet::from(["unreadable 1", "unreadable 2"].map(str::to_owned)));
}
