//! Douyin's answers in every form that its documents and samples show, through the whole gateway:
//! the body decides, whatever the HTTP status, the envelope and the spelling.

use std::time::Duration;

use douyin_sim::{AmountForm, Choices, Envelope, LogIdPlace, QueryNames};
use http::StatusCode;
use settlement_gateway::proto::v1::SettleState;
use tonic::Code;

use crate::harness::{APP_ID, Gateway, assert_create_error, create_on, create_request, number};

#[tokio::test]
async fn a_refusal_is_understood_in_every_envelope_under_either_status() {
    let gateway = Gateway::spawn().await;
    for envelope in Envelope::ALL {
        for status in [StatusCode::BAD_REQUEST, StatusCode::OK] {
            for log_id in [LogIdPlace::Body, LogIdPlace::HeaderOnly] {
                for parent_err_no in [2_191_009, 2_190_004] {
                    let form = format!("{envelope:?} {status} {log_id:?} {parent_err_no}");
                    gateway.sim.set_choices(Choices {
                        business_envelope: envelope,
                        business_status: status,
                        log_id,
                        parent_err_no,
                        ..Choices::default()
                    });
                    let number = number("form");
                    let refusal = gateway.create(create_on(&number, "sim-err-23102-1")).await;
                    let refusal = refusal.expect_err(&form);
                    let code = Code::FailedPrecondition;
                    let told = assert_create_error(&refusal, code, "ORDER_NOT_PAID", "refused");
                    let douyin = told.douyin.unwrap();
                    assert_eq!(douyin.http_status, i32::from(status.as_u16()), "{form}");
                    let numbers = [douyin.err_no, douyin.sub_err_no];
                    assert!(numbers.contains(&Some(23102)), "{form}: {douyin:?}");
                    assert!(!douyin.log_id().is_empty(), "{form}: {douyin:?}");
                    assert!(!douyin.err_msg().is_empty(), "{form}: {douyin:?}");
                    assert_eq!(gateway.sim.books().sends(&number), 1, "{form}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_dead_token_is_understood_in_every_envelope_under_every_status() {
    let gateway = Gateway::spawn_with(crate::harness::simulator().await, |config| {
        config.douyin.refetch_gap = Duration::ZERO;
    })
    .await;
    gateway.create(create_request(&number("warm"))).await.unwrap();
    for envelope in Envelope::ALL {
        for status in [StatusCode::OK, StatusCode::BAD_REQUEST, StatusCode::UNAUTHORIZED] {
            let form = format!("{envelope:?} {status}");
            gateway.sim.set_choices(Choices {
                platform_envelope: envelope,
                platform_status: status,
                ..Choices::default()
            });
            gateway.sim.expire_tokens(APP_ID);
            let number = number("dead");
            let settle = gateway.create(create_request(&number)).await;
            let settle = settle.unwrap_or_else(|status| panic!("{form}: {status:?}"));
            assert_eq!(settle.state(), SettleState::Processing, "{form}");
            assert_eq!(gateway.sim.books().under(&number).len(), 1, "{form}");
            // The poller asks with whatever token there is: it must be done before the next one.
            assert_eq!(gateway.end(&number).await.state(), SettleState::Succeeded, "{form}");
        }
    }
}

#[tokio::test]
async fn a_settle_ends_with_the_same_facts_in_either_spelling_and_form() {
    let gateway = Gateway::spawn().await;
    let mut all = Vec::new();
    for query_names in [QueryNames::New, QueryNames::Of2023] {
        for amounts in [AmountForm::Number, AmountForm::Text] {
            for business_envelope in [Envelope::Own, Envelope::ErrTips] {
                let form = format!("{query_names:?} {amounts:?} {business_envelope:?}");
                gateway.sim.set_choices(Choices {
                    query_names,
                    amounts,
                    business_envelope,
                    ..Choices::default()
                });
                let number = number("spelled");
                gateway.create(create_request(&number)).await.unwrap();
                let end = gateway.end(&number).await;
                assert_eq!(end.state(), SettleState::Succeeded, "{form}");
                assert!(end.contradiction.is_none(), "{form}: {end:?}");
                let booked = gateway.sim.books().only(&number).unwrap().clone();
                assert_eq!(end.order_id(), booked.order_id, "{form}");
                assert_eq!(end.settle_id(), booked.settle_id, "{form}");
                let mut result = end.result.unwrap();
                assert_eq!(result.settle_amount_fen, Some(booked.amount_fen), "{form}");
                assert!(result.settle_time.take().is_some(), "{form}");
                // The spelling of 2023 knows no platform ticket.
                result.platform_ticket_fen = None;
                all.push((form, result));
            }
        }
    }
    for (form, result) in &all {
        assert_eq!(result, &all[0].1, "{form} against {}", all[0].0);
    }
}
