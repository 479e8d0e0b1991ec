//! ListSettles: newest first, stable under concurrent inserts, bound to its filters.

use std::collections::HashSet;

use settlement_gateway::grpc::settlement::list::parse;
use settlement_gateway::proto::v1::{self, SettleState};
use tokio::task::JoinSet;
use tonic::Code;

use crate::harness::{APP_ID, Gateway, create_on, details, number, within};

async fn list(
    gateway: &Gateway,
    request: v1::ListSettlesRequest,
) -> Result<v1::ListSettlesResponse, tonic::Status> {
    let mut client = gateway.client.clone();
    within("ListSettles", client.list_settles(request)).await.map(tonic::Response::into_inner)
}

fn request() -> v1::ListSettlesRequest {
    v1::ListSettlesRequest { app_id: APP_ID.to_owned(), ..Default::default() }
}

fn numbers(settles: &[v1::Settle]) -> Vec<String> {
    settles.iter().map(|settle| settle.out_settle_no.clone()).collect()
}

/// All pages, each of `page_size`, with something done between two of them.
async fn pages(
    gateway: &Gateway,
    mut request: v1::ListSettlesRequest,
    mut between: impl AsyncFnMut(),
) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let page = list(gateway, request.clone()).await.unwrap();
        all.extend(numbers(&page.settles));
        if page.next_page_token.is_empty() {
            return all;
        }
        request.page_token = page.next_page_token;
        between().await;
    }
}

#[tokio::test]
async fn pages_are_newest_first_and_do_not_move_while_settles_are_created() {
    let gateway = Gateway::spawn().await;
    let mut made = Vec::new();
    for _ in 0..7 {
        let number = number("page");
        gateway.create(create_on(&number, &format!("order-of-{number}"))).await.unwrap();
        made.push(number);
    }
    made.reverse();
    let listing = v1::ListSettlesRequest { page_size: 3, ..request() };
    let seen = pages(&gateway, listing, async || {
        let late = number("late");
        gateway.create(create_on(&late, &format!("order-of-{late}"))).await.unwrap();
    })
    .await;
    assert_eq!(seen, made, "each once, none of the late ones, in order");
}

/// Pages are read while many create: what was there before is listed once, and in its order.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_read_while_many_create_has_every_older_settle_once() {
    let gateway = Gateway::spawn().await;
    let mut made = Vec::new();
    for _ in 0..20 {
        let number = number("old");
        gateway.create(create_on(&number, &format!("order-of-{number}"))).await.unwrap();
        made.push(number);
    }
    made.reverse();
    let mut creators = JoinSet::new();
    for _ in 0..8 {
        let mut client = gateway.client.clone();
        creators.spawn(async move {
            loop {
                let number = number("new");
                let request = create_on(&number, &format!("order-of-{number}"));
                client.create_settle(request).await.unwrap();
            }
        });
    }
    for page_size in [1, 3, 7, 500] {
        let mut last = i64::MAX;
        let (mut seen, mut listing) = (Vec::new(), request());
        listing.page_size = page_size;
        loop {
            let page = list(&gateway, listing.clone()).await.unwrap();
            for settle in page.settles {
                let time = settle.create_time.unwrap();
                let time = time.seconds * 1_000_000_000 + i64::from(time.nanos);
                assert!(time <= last, "newest first");
                last = time;
                seen.push(settle.out_settle_no);
            }
            listing.page_token = page.next_page_token;
            if listing.page_token.is_empty() {
                break;
            }
        }
        let unique: HashSet<_> = seen.iter().collect();
        assert_eq!(unique.len(), seen.len(), "each once, by {page_size}");
        seen.retain(|number| number.starts_with("old"));
        assert_eq!(seen, made, "by {page_size}");
    }
}

#[tokio::test]
async fn each_filter_lists_what_it_says() {
    let gateway = Gateway::spawn().await;
    let (held, refused, other) = (number("held"), number("refused"), number("other"));
    gateway.create(create_on(&held, "sim-hold-1")).await.unwrap();
    gateway.create(create_on(&refused, "sim-err-23101-1")).await.unwrap_err();
    let settle = gateway.create(create_on(&other, "sim-hold-2")).await.unwrap();

    let by_order = v1::ListSettlesRequest { out_order_no: "sim-hold-1".to_owned(), ..request() };
    let of_order = list(&gateway, by_order).await.unwrap().settles;
    assert_eq!(numbers(&of_order), std::slice::from_ref(&held));

    let states = |states: &[SettleState]| v1::ListSettlesRequest {
        states: states.iter().map(|state| i32::from(*state)).collect(),
        ..request()
    };
    let rejected = list(&gateway, states(&[SettleState::Rejected])).await.unwrap().settles;
    assert_eq!(numbers(&rejected), std::slice::from_ref(&refused));
    let both = [SettleState::Processing, SettleState::Rejected];
    let both = list(&gateway, states(&both)).await.unwrap().settles;
    assert_eq!(numbers(&both), [other.clone(), refused.clone(), held.clone()]);

    let from = settle.create_time.unwrap();
    let window = v1::ListSettlesRequest { create_time_from: Some(from), ..request() };
    let later = list(&gateway, window).await.unwrap().settles;
    assert_eq!(numbers(&later), std::slice::from_ref(&other));
    let window = v1::ListSettlesRequest { create_time_until: Some(from), ..request() };
    assert_eq!(numbers(&list(&gateway, window).await.unwrap().settles), [refused, held]);
}

#[tokio::test]
async fn a_page_token_is_bound_to_its_filters_and_cannot_be_made_up() {
    let gateway = Gateway::spawn().await;
    for _ in 0..3 {
        let number = number("bound");
        gateway.create(create_on(&number, &format!("order-of-{number}"))).await.unwrap();
    }
    let first = v1::ListSettlesRequest { page_size: 1, ..request() };
    let token = list(&gateway, first.clone()).await.unwrap().next_page_token;
    let sized = v1::ListSettlesRequest { page_size: 500, page_token: token.clone(), ..request() };
    assert_eq!(list(&gateway, sized).await.unwrap().settles.len(), 2, "the size may differ");
    let state = i32::from(SettleState::Failed);
    let others = [
        v1::ListSettlesRequest { states: vec![state], page_token: token.clone(), ..request() },
        v1::ListSettlesRequest { page_token: "made-up".to_owned(), ..request() },
        v1::ListSettlesRequest { page_token: token.replace('0', "1"), ..request() },
    ];
    for other in others {
        let status = list(&gateway, other).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(details(&status).fields, ["page_token"]);
    }
}

#[tokio::test]
async fn bad_filters_are_named_all_at_once() {
    let gateway = Gateway::spawn().await;
    let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let bad = v1::ListSettlesRequest {
        out_order_no: "x".repeat(65),
        states: vec![0, 1, 99],
        create_time_from: time(10),
        create_time_until: time(10),
        page_size: -1,
        page_token: "?".to_owned(),
        ..request()
    };
    let mut fields = details(&list(&gateway, bad).await.unwrap_err()).fields;
    fields.sort();
    let expected =
        ["create_time_until", "out_order_no", "page_size", "page_token", "states[0]", "states[2]"];
    assert_eq!(fields, expected);
}

/// Five hundred settles are many to make: what is read from the store is looked at.
#[test]
fn a_page_has_fifty_settles_by_default_and_five_hundred_at_most() {
    for (asked, got) in [(0, 50), (1, 1), (499, 499), (500, 500), (501, 500), (i32::MAX, 500)] {
        let listing = v1::ListSettlesRequest { page_size: asked, ..request() };
        assert_eq!(parse(listing, None).unwrap().settles_max, got);
    }
    for asked in [-1, i32::MIN] {
        let listing = v1::ListSettlesRequest { page_size: asked, ..request() };
        assert!(parse(listing, None).is_err(), "{asked}");
    }
}

/// However long a filter or a token is.
#[tokio::test]
async fn an_enormous_list_request_is_refused_in_few_words() {
    let gateway = Gateway::spawn().await;
    let enormous = v1::ListSettlesRequest {
        states: vec![99; 5_000],
        page_token: "0".repeat(30_000),
        out_order_no: "x".repeat(10_000),
        page_size: i32::MAX,
        ..request()
    };
    // `details` checks the size of the encoded status.
    let status = list(&gateway, enormous).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(details(&status).fields.len(), 21, "twenty, and how many more");
    // The same state a thousand times is that state.
    let state = i32::from(SettleState::Failed);
    let same = v1::ListSettlesRequest { states: vec![state; 1_000], ..request() };
    assert_eq!(list(&gateway, same).await.unwrap().settles, []);
}

#[tokio::test]
async fn a_page_is_never_larger_than_its_limit() {
    let gateway = Gateway::spawn().await;
    for _ in 0..51 {
        let number = number("many");
        gateway.create(create_on(&number, &format!("order-of-{number}"))).await.unwrap();
    }
    let page = list(&gateway, request()).await.unwrap();
    assert_eq!(page.settles.len(), 50, "the default");
    assert!(!page.next_page_token.is_empty());
    let all = v1::ListSettlesRequest { page_size: 100_000, ..request() };
    let page = list(&gateway, all).await.unwrap();
    assert_eq!((page.settles.len(), page.next_page_token.as_str()), (51, ""));
}

/// A store with room for one read at a time turns the others away, and says that they may come
/// back.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_the_store_cannot_read_is_told_as_such() {
    let gateway = Gateway::spawn_with(crate::harness::simulator().await, |config| {
        config.sqlite.reads_max = 1;
        config.sqlite.readers = 1;
    })
    .await;
    let mut lists = JoinSet::new();
    for _ in 0..200 {
        let mut client = gateway.client.clone();
        lists.spawn(async move { client.list_settles(request()).await.map(drop) });
    }
    let answers = within("200 lists", lists.join_all()).await;
    let mut refused = 0;
    for status in answers.into_iter().filter_map(Result::err) {
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        let told = details(&status);
        assert_eq!(told.info.reason, "STORE_UNAVAILABLE");
        assert!(told.retry_after.is_some());
        refused += 1;
    }
    assert!(refused > 0);
}
