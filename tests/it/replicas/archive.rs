//! Old settles, moved away by the statements in docs/scaling.md while the gateways serve.

use std::time::Duration;

use settlement_gateway::proto::v1::SettleState;
use tonic::Code;

use super::fleet::{Fleet, Mode, in_each_mode};
use crate::harness::{create_on, create_request, details, number};

/// What the document says that an operator runs.
fn statements() -> String {
    let text = include_str!("../../../docs/scaling.md");
    let blocks = text.split("```sql\n").skip(1).filter_map(|rest| rest.split_once("```"));
    let mut blocks = blocks.map(|(block, _)| block).filter(|block| block.contains("archive"));
    blocks.next().expect("the document has them").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_succeeded_is_moved_and_a_repeat_finds_it_again_and_pays_nothing_twice() {
    in_each_mode(play).await;
}

async fn play(mode: Mode) {
    let fleet = Fleet::new(mode).await;
    let replicas = fleet.start_all(2).await;
    let [one, other] = &replicas[..] else { unreachable!() };
    let deadline = Duration::from_secs(10);
    let [ended, open, refused] = ["ended", "open", "refused"].map(number);
    let paid = one.create(create_request(&ended), deadline).await.unwrap();
    assert_eq!(one.end(&ended).await.state(), SettleState::Succeeded);
    one.create(create_on(&open, "sim-hold-1"), deadline).await.unwrap();
    let refusal = other.create(create_on(&refused, "sim-err-23102-1"), deadline).await.unwrap_err();
    assert_eq!(details(&refusal).info.metadata["outcome"], "refused");

    // Gateways that have just seen a settle would take it for lost, and they have seen no old one.
    for replica in replicas {
        replica.kill().await;
    }
    let replicas = fleet.start_all(2).await;
    let [one, other] = &replicas[..] else { unreachable!() };
    fleet.database.run("UPDATE settle SET update_time_ms = 0").await;
    fleet.database.run(&statements()).await;

    assert_eq!(other.get(&ended).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(other.get(&open).await.unwrap().state(), SettleState::Processing);
    assert_eq!(other.get(&refused).await.unwrap().state(), SettleState::Rejected);

    let again = other.create(create_request(&ended), deadline).await.unwrap();
    assert_eq!(again.settle_id, paid.settle_id);
    assert_eq!(one.end(&ended).await.state(), SettleState::Succeeded);
    fleet.assert_paid_once(&ended);
    let refusal = one.create(create_on(&refused, "sim-err-23102-1"), deadline).await.unwrap_err();
    assert_eq!(details(&refusal).info.metadata["outcome"], "refused");
    assert_eq!(fleet.sim.books().sends(&refused), 1, "what is remembered is not sent");
}
