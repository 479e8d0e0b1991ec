//! A newer release beside this one: its schema has more columns, and its rows have states, words
//! and rules that this one does not know. Those are left to it, and everything else goes on.

use std::collections::BTreeMap;
use std::time::Duration;

use settlement_gateway::proto::v1::{self, SettleState};
use tonic::Code;

use super::fleet::{CLAIM_INTERVAL, Fleet, LEASE, Mode, Replica, in_each_mode};
use crate::harness::{APP_ID, create_on, create_request, details, number, within};

const DEADLINE: Duration = Duration::from_secs(10);
const NEWER: &str = "NEWER_VERSION";

/// What a newer release may have written into a row, and whether this one can read it.
const NEWS: [(&str, &str, bool); 5] = [
    ("rules", "99", true),
    ("state", "'SUSPENDED'", false),
    ("origin", "'IMPORT'", false),
    ("contradiction_claimed", "'SUSPENDED'", false),
    ("contradiction_source", "'AUDITOR'", false),
];

/// The rows of some settles, as text.
async fn rows(fleet: &Fleet, numbers: &BTreeMap<&str, String>) -> Vec<String> {
    let client = fleet.database.as_another_program().await;
    let numbers: Vec<&str> = numbers.values().map(String::as_str).collect();
    let select =
        "SELECT settle::text FROM settle WHERE out_settle_no = ANY ($1) ORDER BY out_settle_no";
    let rows = client.query(select, &[&numbers]).await.unwrap();
    assert_eq!(rows.len(), numbers.len());
    rows.iter().map(|row| row.get(0)).collect()
}

async fn assert_told(replica: &Replica, number: &str, order: &str, is_readable: bool) {
    let repeated = replica.create(create_on(number, order), DEADLINE).await;
    let read = replica.get(number).await;
    if is_readable {
        assert_eq!(read.unwrap().state(), SettleState::Processing);
        assert_eq!(repeated.unwrap().state(), SettleState::Processing);
        return;
    }
    for (status, outcome) in [(read.unwrap_err(), None), (repeated.unwrap_err(), Some("not_sent"))]
    {
        let info = details(&status).info;
        assert_eq!((status.code(), &*info.reason), (Code::Unavailable, NEWER), "{status:?}");
        assert_eq!(info.metadata.get("outcome").map(String::as_str), outcome, "{status:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_newer_release_are_left_to_it_and_all_others_go_on() {
    in_each_mode(|mode| async move {
        let fleet = Fleet::new(mode).await;
        let before = fleet.start(0).await;
        fleet.calls_back(&before);
        let (mut theirs, mut orders, mut ids) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        for (column, _, _) in NEWS {
            let number = number(column);
            let order = format!("sim-hold-{number}");
            let created = before.create(create_on(&number, &order), DEADLINE).await.unwrap();
            ids.push(created.settle_id().to_owned());
            orders.insert(column, order);
            theirs.insert(column, number);
        }
        let client = fleet.database.as_another_program().await;
        let newer = "ALTER TABLE settle ADD COLUMN novelty text NOT NULL DEFAULT 'new';
                     CREATE TABLE before AS SELECT * FROM settle;
                     UPDATE store_state SET schema_version = 99";
        client.batch_execute(newer).await.unwrap();
        for (column, value, _) in NEWS {
            // No worker of it lives, and it is long due.
            let number = &theirs[column];
            let write = format!(
                "UPDATE settle SET {column} = {value}, due_at_ms = 1, lease_until_ms = NULL
                 WHERE out_settle_no = '{number}'"
            );
            client.batch_execute(&write).await.unwrap();
        }
        // And a settle of a trade system that no call to this release can name.
        let novel = number("novel");
        let copied = &theirs["state"];
        let create = format!(
            "INSERT INTO settle OVERRIDING SYSTEM VALUE
             SELECT copy.* FROM settle AS other CROSS JOIN LATERAL json_populate_record(other,
                 json_build_object('id', other.id + 1000, 'trade_system', 'NOVEL',
                                   'out_settle_no', '{novel}', 'state', 'PROCESSING')) AS copy
             WHERE other.out_settle_no = '{copied}'"
        );
        client.batch_execute(&create).await.unwrap();
        let mut written_by_them = theirs.clone();
        written_by_them.insert("trade_system", novel.clone());
        let written = rows(&fleet, &written_by_them).await;
        // One that runs, and one that starts.
        let replicas = [before, fleet.start(1).await];
        for id in &ids {
            assert!(fleet.sim.finish(id, douyin_sim::Status::Success));
        }
        for replica in &replicas {
            for (column, _, is_readable) in NEWS {
                assert_told(replica, &theirs[column], &orders[column], is_readable).await;
            }
            // Its number is taken, and it is none of the settles of the systems that are known.
            let taken = replica.create(create_request(&novel), DEADLINE).await.unwrap_err();
            let info = details(&taken).info;
            assert_eq!((&*info.reason, &*info.metadata["outcome"]), (NEWER, "not_sent"));
            let unknown = replica.get(&novel).await.unwrap_err();
            assert_eq!(unknown.code(), Code::NotFound, "{unknown:?}");
            let own = number("own");
            replica.create(create_request(&own), DEADLINE).await.unwrap();
            assert_eq!(replica.end(&own).await.state(), SettleState::Succeeded);
            fleet.assert_paid_once(&own);
            let page = v1::ListSettlesRequest { app_id: APP_ID.to_owned(), ..Default::default() };
            let status = replica.client.clone().list_settles(page).await.unwrap_err();
            assert_eq!(details(&status).info.reason, NEWER, "{status:?}");
        }
        // Longer than it takes to claim what is due, or to repair the schedule.
        tokio::time::sleep(LEASE + CLAIM_INTERVAL).await;
        assert_eq!(rows(&fleet, &written_by_them).await, written, "{mode:?}");
        // The newer release is gone, or has done its work: all of them come to their end.
        for (column, _, _) in NEWS {
            let number = &theirs[column];
            let write = format!(
                "UPDATE settle SET {column} = before.{column} FROM before
                 WHERE before.id = settle.id AND settle.out_settle_no = '{number}'"
            );
            client.batch_execute(&write).await.unwrap();
            assert_eq!(replicas[1].end(number).await.state(), SettleState::Succeeded, "{column}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_shuts_this_release_out_is_refused_at_the_start() {
    let fleet = Fleet::new(Mode::Whole).await;
    let client = fleet.database.as_another_program().await;
    let shut = "UPDATE store_state SET schema_version = 99, oldest_reader = 98";
    client.batch_execute(shut).await.unwrap();
    let said = within("the refusal", fleet.refused(0)).await;
    for text in ["version 99", "knows version 98", "Start the newer gateway"] {
        assert!(said.contains(text), "{said}");
    }
}
