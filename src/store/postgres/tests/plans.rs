//! What runs for every settle reads a bounded number of rows, however many there are and however
//! many are due: with plans for certain values and for any. (The server collects the statistics
//! that it plans by within a minute.)

use std::time::Duration;

use tokio_postgres::Client;

use super::server::{Database, Server};
use super::{create, new_store, open};
use crate::settle::{Key, OutOrderNo, StateKind, TradeSystem};
use crate::store::contract_tests::fixtures::*;
use crate::store::{Error, Known, ListQuery, PostgresOptions, Store};

const SETTLES: i64 = 20_000;
/// The rows, and entries of indexes, that an operation may read. A page has 50 settles of each
/// state.
const READ_MAX: i64 = 300;

/// Copies of a settle: a twentieth is on its way, half of these are due, and the others have
/// succeeded. Each ten share an order.
const FILL: &str = "
    INSERT INTO settle OVERRIDING SYSTEM VALUE
    SELECT copy.* FROM settle AS original
    CROSS JOIN generate_series(1, $1::bigint) AS number
    CROSS JOIN LATERAL json_populate_record(original, json_build_object(
        'id', 1000 + number, 'out_settle_no', 'n' || number, 'settle_id', 'ots' || number,
        'listed_order_no', 'order-' || number / 10,
        'create_time_ms', original.create_time_ms + number,
        'state', CASE WHEN number % 20 = 0 THEN 'PROCESSING' ELSE 'SUCCEEDED' END,
        'lease_until_ms', NULL,
        'due_at_ms', CASE WHEN number % 20 = 0 THEN (extract(epoch FROM now()) * 1000)::bigint
                          + 1000 * (number - $1 / 2) END
    )) AS copy
    WHERE original.out_settle_no = 'original'";

/// What has been read of the settles and of their indexes so far. A session of a gateway is counted
/// when it has ended.
async fn read(client: &Client) -> i64 {
    let gateways = "SELECT FROM pg_stat_activity WHERE datname = current_database()
                    AND application_name = 'settlement-gateway'";
    while !client.query(gateways, &[]).await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let select = "
        SELECT seq_tup_read + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes
                               WHERE relname = 'settle')::bigint
        FROM pg_stat_user_tables WHERE relname = 'settle'";
    client.query_one(select, &[]).await.unwrap().get(0)
}

/// What an operation reads.
async fn cost(database: &Database, client: &Client, run: impl AsyncFnOnce(&Store)) -> i64 {
    let before = read(client).await;
    let store = open(PostgresOptions::new(database.address())).await;
    run(&store).await;
    store.close().await;
    read(client).await - before
}

async fn done<T>(operation: impl Future<Output = Result<T, Error>>) {
    operation.await.unwrap();
}

fn number(number: u32) -> Key {
    key(&format!("n{number}"))
}

fn everything() -> ListQuery {
    ListQuery {
        app_id: app("tt01"),
        trade_system: None,
        out_order_no: None,
        states: Vec::new(),
        from: None,
        until: None,
        after: None,
        settles_max: 50,
    }
}

async fn assert_bounded(database: &Database, client: &Client, round: u32) {
    let mut costs = Vec::new();
    macro_rules! costs {
        ($store:ident, $($run:expr;)*) => {
            $({
                let cost = cost(database, client, async |$store: &Store| done($run).await).await;
                costs.push((cost, stringify!($run)));
            })*
        };
    }
    let (app, other_app) = (app("tt01"), key_of("tt02", "n7"));
    let elsewhere = Key { trade_system: TradeSystem::Guaranteed, ..number(7) };
    let known = Known { key: number(7), version: 0 };
    let of_state = ListQuery { states: vec![StateKind::Processing], ..everything() };
    let order = OutOrderNo::parse("order-7").unwrap();
    let of_order = ListQuery { out_order_no: Some(order), ..everything() };
    let (one, zero) = (number(16_000 + 20 * round), Duration::ZERO);
    costs! {
        store,
        create(store, key(&format!("new-{round}")));
        create(store, number(7));
        create(store, elsewhere.clone());
        store.elsewhere(&other_app, true);
        store.get(&number(7));
        by_settle_id(store, &number(7), &settle_id("ots7"));
        store.history(&number(7), 20);
        async {
            let record = store.get(&number(7)).await?.unwrap();
            store.swap(fact(next(&record, |_| {}))).await
        };
        store.claim_due(&app, claims(20));
        async {
            let claim = store.claim(&one, Duration::from_secs(60)).await?.unwrap();
            store.release(&one, claim.fence, rest_until(NOW)).await
        };
        store.nudge(&one, zero, zero);
        store.next_due(&app);
        store.due(&app, 100);
        store.scheduled(&one);
        store.changed(vec![known.clone()], zero);
        store.list(&everything());
        store.list(&of_state);
        store.list(&of_order);
    }
    println!("round {round}: {costs:#?}");
    assert!(costs.iter().all(|(cost, _)| *cost <= READ_MAX), "of {SETTLES} settles");
}

#[tokio::test]
async fn what_is_read_for_a_settle_does_not_grow_with_the_number_of_settles() {
    let database = Server::shared().database().await;
    let store = new_store(&database).await;
    create(&store, key("original")).await.unwrap();
    store.close().await;
    let client = database.as_another_program().await;
    assert_eq!(client.execute(FILL, &[&SETTLES]).await.unwrap(), SETTLES.unsigned_abs());
    client.batch_execute("ANALYZE settle").await.unwrap();
    let before = read(&client).await;
    client.query("SELECT max(body) FROM settle", &[]).await.unwrap();
    client.query("SELECT pg_stat_force_next_flush()", &[]).await.unwrap();
    assert!(read(&client).await - before >= SETTLES, "what reads all of them shows");

    for (round, kind) in (0..).zip(["force_custom_plan", "force_generic_plan"]) {
        database.set("plan_cache_mode", kind).await;
        assert_bounded(&database, &client, round).await;
    }
}
