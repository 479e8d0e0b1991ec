//! Pages of settles that are large.

use std::collections::BTreeSet;

use douyin_sim::Choices;
use prost::Message as _;
use settlement_gateway::proto::v1;
use tempfile::TempDir;

use super::{BUDGET, record_largest, until};
use crate::harness::{simulator_with, within};
use crate::process::{Process, Setting};

const MIB: usize = 1024 * 1024;

/// The gateway cannot bound what Douyin tells of a settle.
static SEPARATOR: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| "x".repeat(8_000));

#[tokio::test]
async fn a_page_of_the_largest_settles_has_three_mebibytes_at_most() {
    let sim = simulator_with(|config| {
        config.processing_ms = 1;
        config.choices = Choices { detail_separator: &SEPARATOR, ..config.choices.clone() };
    })
    .await;
    let dir = TempDir::new().unwrap();
    let setting = Setting { more: BUDGET.to_owned(), ..Setting::default() };
    let gateway = Process::start(&sim, dir.path(), setting).await;
    record_largest(&gateway, 500).await;
    let mut client = gateway.client.clone();
    let asked = v1::ListSettlesRequest { page_size: 500, ..Default::default() };
    until("the settles to end", async || {
        let ended = i32::from(v1::SettleState::Succeeded);
        let mut open = asked.clone();
        open.states = (1..=5).filter(|state| *state != ended).collect();
        open.page_size = 1;
        let open = within("ListSettles", client.list_settles(open)).await.unwrap().into_inner();
        open.settles.is_empty()
    })
    .await;

    let (mut seen, mut token, mut pages, mut bytes) = (BTreeSet::new(), String::new(), 0, 0);
    loop {
        let page = v1::ListSettlesRequest { page_token: token, ..asked.clone() };
        let page = within("ListSettles", client.list_settles(page)).await.unwrap().into_inner();
        assert!(page.encoded_len() <= 3 * MIB, "{} bytes", page.encoded_len());
        pages += 1;
        bytes += page.encoded_len();
        for settle in page.settles {
            assert!(seen.insert(settle.out_settle_no), "no settle is on two pages");
        }
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen.len(), 500);
    assert!(bytes > 3 * MIB && pages > 1, "{bytes} bytes would have fitted");
}
