//! A replica stands still in the middle of its work (SIGSTOP) and wakes up when another one has
//! its settles: what it believes to be its own, and what it was permitted, is so no more.

use std::time::{Duration, Instant};

use douyin_sim::{Gate, Script};
use settlement_gateway::proto::v1::{ObservationSource, SettleState};

use super::fleet::{As, Fleet, LEASE, Replica, in_each_mode};
use crate::harness::{create_request, details, number, within};

/// Longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(30);

type Creating = tokio::task::JoinHandle<Result<(), tonic::Status>>;

/// Begins a create, whose answer is awaited later.
fn create(replica: &Replica, number: &str) -> Creating {
    let creating = replica.creating(create_request(number), DEADLINE);
    tokio::spawn(async move { creating.await.map(drop) })
}

/// The leases of settles in the database, once all of them are running and of a later claim than
/// the one with the fence `before`.
async fn until_taken(fleet: &Fleet, numbers: [&str; 2], before: i64) -> Vec<(i64, i64)> {
    let client = fleet.database.as_another_program().await;
    let leases = "SELECT fence, lease_until_ms FROM settle
                  WHERE out_settle_no IN ($1, $2) AND fence > $3
                    AND lease_until_ms > extract(epoch FROM clock_timestamp()) * 1000
                  ORDER BY out_settle_no";
    let taking = async {
        loop {
            let rows = client.query(leases, &[&numbers[0], &numbers[1], &before]).await.unwrap();
            if rows.len() == numbers.len() {
                return rows.iter().map(|row| (row.get(0), row.get(1))).collect();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within("another replica to take them over", taking).await
}

/// It was about to record what became of a send, and to give a lease back after a query: either
/// would end the lease of the replica that has the settle by then.
#[tokio::test(flavor = "multi_thread")]
async fn woken_up_past_its_lease_a_replica_leaves_the_leases_of_another_one_alone() {
    in_each_mode(|mode| async move {
        let fleet = Fleet::new(mode).await;
        let frozen = fleet.start(0).await;
        let [sent, asked, late] = ["sent", "asked", "late"].map(number);
        fleet.sim.script(&sent, vec![Script::Hang, Script::Hang]);
        fleet.sim.script(&asked, vec![Script::Drop, Script::Drop]);
        let gate = Gate::new();
        fleet.sim.script(&late, vec![Script::Hold(gate.clone()), Script::Hold(gate.clone())]);
        fleet.sim.always_query(Some(Script::Hang));
        let creates = [&sent, &asked, &late].map(|number| create(&frozen, number));
        let settles = [sent.as_str(), asked.as_str()];
        let begun = fleet.sim.until(|books| {
            books.sends(&sent) > 0 && books.queries(&asked) > 0 && books.sends(&late) > 0
        });
        within("the calls to Douyin", begun).await;
        frozen.freeze().await;
        let began = Instant::now();
        let first = fleet.database.text("SELECT max(fence)::text FROM settle").await;
        let first = first.unwrap().parse().unwrap();

        // Another replica notes what was permitted before it may take anything over, because the
        // grace counts from then.
        let round_interval = Some(Duration::from_millis(200));
        let lives = fleet.start_as(1, &As { round_interval, ..As::default() }).await;
        lives.until_metric("settlement_foreign_sends", 3.0).await;
        assert!(began.elapsed() < LEASE, "{:?}", began.elapsed());
        // An answer comes in that cannot be read.
        gate.open();
        within("the effect", fleet.sim.until(|books| books.only(&late).is_some())).await;
        let oldest = lives.until_some("settlement_foreign_sends_oldest_seconds").await;
        assert!(oldest <= began.elapsed().as_secs_f64(), "{oldest} s");
        // From here on only the one that wakes up could change their rows.
        until_taken(&fleet, settles, first).await;
        lives.freeze().await;
        let leases = until_taken(&fleet, settles, first).await;
        frozen.thaw();
        for creating in creates {
            // The late answer may be read now, or have come too late for it.
            if let Err(status) = within("the answer", creating).await.unwrap() {
                assert_eq!(details(&status).info.metadata["outcome"], "unknown", "{status:?}");
            }
        }
        assert_eq!(until_taken(&fleet, settles, first).await, leases);

        lives.thaw();
        fleet.sim.always_query(None);
        for number in [&sent, &asked, &late] {
            for replica in [&frozen, &lives] {
                assert_eq!(replica.end(number).await.state(), SettleState::Succeeded, "{number}");
            }
            fleet.assert_paid_once(number);
        }
        // And it works on.
        frozen.create(create_request(&number("after")), DEADLINE).await.unwrap();
    })
    .await;
}

/// It stood still between the permission and the send. The permission was durable, and no lease and
/// no fence is looked at before a send: only the permission's own time is.
#[tokio::test(flavor = "multi_thread")]
async fn woken_up_with_a_permission_whose_time_is_over_a_replica_sends_nothing() {
    in_each_mode(|mode| async move {
        let fleet = Fleet::new(mode).await;
        let as_what = As { lease: Some(LEASE / 2), ..As::default() };
        let (frozen, lives) =
            (fleet.start_as(0, &as_what).await, fleet.start_as(1, &as_what).await);
        // From here on there is a token.
        frozen.create(create_request(&number("before")), DEADLINE).await.unwrap();
        let (number, gate) = (number("permitted"), Gate::new());
        let locked = fleet.database.hold_inserts().await;
        let creating = create(&frozen, &number);
        fleet.database.until_waits("INSERT INTO settle").await;
        frozen.freeze().await;
        fleet.sim.script(&number, vec![Script::Hold(gate.clone())]);
        locked.batch_execute("COMMIT").await.unwrap();
        within("the send of another replica", gate.arrived()).await;
        // From here on only the one that wakes up could send.
        lives.freeze().await;
        frozen.thaw();
        let status = within("the answer", creating).await.unwrap().unwrap_err();
        let info = details(&status).info;
        assert_eq!(info.metadata["outcome"], "unknown", "{status:?}");
        // It has read that its insert was durable, and gone on from there.
        assert_ne!(info.reason, "STORE_UNAVAILABLE", "{status:?}");
        assert_eq!(fleet.sim.books().sends(&number), 1);

        gate.open();
        lives.thaw();
        for replica in [&frozen, &lives] {
            assert_eq!(replica.end(&number).await.state(), SettleState::Succeeded);
        }
        fleet.assert_paid_once(&number);
    })
    .await;
}

/// The server's clock was set ahead, for example. While the answer is waited for, no transaction is
/// open.
#[tokio::test(flavor = "multi_thread")]
async fn an_acceptance_that_comes_after_the_lease_is_recorded_without_it() {
    in_each_mode(|mode| async move {
        let fleet = Fleet::new(mode).await;
        let replica = fleet.start(0).await;
        let (number, gate) = (number("late"), Gate::new());
        fleet.sim.script(&number, vec![Script::Hold(gate.clone())]);
        fleet.sim.always_query(Some(Script::Hang));
        let creating = create(&replica, &number);
        within("the send", gate.arrived()).await;
        let open = "SELECT query FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'";
        assert_eq!(fleet.database.text(open).await, None);
        fleet.database.run("UPDATE settle SET fence = fence + 1, lease_until_ms = 1").await;
        gate.open();
        within("the answer", creating).await.unwrap().unwrap();
        let sources = [ObservationSource::Gateway, ObservationSource::Create];
        assert_eq!(replica.sources(&number).await, sources);
    })
    .await;
}
