//! A replica that the others cannot see has no part of the budgets.

use std::time::Duration;

use super::fleet::{Fleet, Mode};
use crate::harness::{create_request, details, number};

/// It could write settles. But it cannot show the others that it lives, so they share all there is
/// among themselves. What is wrong is the database, and not the budget.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_cannot_show_itself_says_that_the_database_is_to_blame() {
    let fleet = Fleet::new(Mode::Whole).await;
    let client = fleet.database.as_another_program().await;
    client.batch_execute("BEGIN; LOCK TABLE replica IN EXCLUSIVE MODE").await.unwrap();
    let replica = fleet.start(0).await;
    let (number, deadline) = (number("unseen"), Duration::from_secs(10));
    let status = replica.create(create_request(&number), deadline).await.unwrap_err();
    let info = details(&status).info;
    assert_eq!(info.metadata["outcome"], "not_sent", "{status:?}");
    assert_eq!(info.reason, "STORE_UNAVAILABLE", "{status:?}");
    client.batch_execute("COMMIT").await.unwrap();
    replica.create(create_request(&number), deadline).await.unwrap();
    fleet.assert_paid_once(&number);
}
