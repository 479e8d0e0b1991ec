//! Guaranteed payment (§6.3): flat answers, seconds instead of milliseconds, and a repeat that is
//! answered like the first.
//!
//! Its list of numbers is short, so that most refusals by the common rules are 2014 here.

use serde_json::{Value, json};

use super::{CallbackForm, CreateForm, DescLimit, Guard, Reading, Repeat, Shell};
use crate::answers::Refusal;
use crate::books::Books;
use crate::calendar;
use crate::callbacks::Ladder;
use crate::choices::Choices;
use crate::endpoint::Endpoint;
use crate::fields::{Fields, Problem};
use crate::orders::OrderStage;
use crate::query::{Item, KeyField, detail};
use crate::rules::{commission_fen, rake_fen};
use crate::settles::{AppliedSettle, Key};
use crate::system::Account;

/// "No such record".
const MISSING: i64 = 2_000;
const PARAMETER: i64 = 2_010;

pub(super) const READING: Reading = Reading {
    paths: &[
        ("/api/apps/ecpay/v1/settle", Endpoint::Create),
        ("/api/apps/ecpay/v1/query_settle", Endpoint::Query),
        ("/api/apps/ecpay/v1/unsettle_amount", Endpoint::AmountLeft),
        ("/api/apps/ecpay/v1/query_platform_order", Endpoint::PlatformOrder),
    ],
    guard: Guard::SignField,
    create: Some(CreateForm {
        listed: &[
            "app_id",
            "out_settle_no",
            "out_order_no",
            "settle_desc",
            "settle_params",
            "sign",
            "cp_extra",
            "notify_url",
            "thirdparty_id",
            // Its meaning was not found; it changes nothing here.
            "finish",
        ],
        mark: "cp_extra",
        desc: DescLimit::Characters(80),
        settle_params_bytes_max: 2_048,
        notify_url_bytes_max: 256,
        receivers_max: Some(4),
        settles_per_order_max: Some(50),
        plain_numbers: true,
        first_alone: true,
        repeat: Repeat::AnsweredAgain,
        accepted: |settle_no, _| json!({ "settle_no": settle_no }),
    }),
    keys: &[KEY],
    query_listed: &["app_id", "sign", "thirdparty_id"],
    report,
    field_number: |_, _| PARAMETER,
    rule_number: |number| match number {
        10_000 => PARAMETER,
        23_000 => 1_000,
        23_101 => MISSING,
        _ => 2_014,
    },
    shell: Shell::Beside,
    id_prefix: "",
    callback: Some(CallbackForm::Token),
    ladder: Ladder::Guaranteed,
    neighbour: None,
};

const KEY: KeyField = ("out_settle_no", Key::OutSettleNo);

/// One settle. An unknown number gets an error beside an object that says nothing.
fn report(settles: &[&AppliedSettle], choices: &Choices) -> Result<Value, Refusal> {
    let mut info = Item::new(choices);
    let Some(settle) = settles.last() else {
        for name in ["settle_no", "settle_status", "settle_detail", "cp_extra", "msg"] {
            info.put(name, json!(""));
        }
        for name in ["settle_amount", "settled_at", "rake", "commission"] {
            info.put_amount(name, 0);
        }
        let nothing = json!({ "settle_info": info.into_value() });
        return Err(Refusal { beside: Some(nothing), ..Refusal::new(MISSING) });
    };
    info.put("settle_no", json!(settle.settle_id));
    info.put_amount("settle_amount", settle.amount_fen);
    info.put("settle_status", json!(settle.status.word()));
    info.put("settle_detail", json!(detail(settle, settle.status, choices.detail_separator)));
    info.put_amount("settled_at", settle.finished_at_ms.map_or(0, seconds));
    info.put_amount("rake", rake_fen(settle.amount_fen));
    info.put_amount("commission", settle.commission_fen);
    info.put("cp_extra", json!(settle.cp_extra));
    info.put("msg", json!(""));
    Ok(json!({ "settle_info": info.into_value() }))
}

pub(crate) fn seconds(ms: u64) -> i64 {
    i64::try_from(ms / 1_000).unwrap_or(i64::MAX)
}

/// What of an order can still be settled, less fees. The page is linked from other systems too;
/// that their settles count is a guess.
pub(crate) fn amount_left(
    books: &Books,
    account: Account<'_>,
    body: &[u8],
) -> Result<Value, Refusal> {
    let listed = ["app_id", "thirdparty_id", "out_order_no", "out_item_order_no", "sign"];
    let fields = Fields::read(body, &listed, &READING)?;
    fields.blankable("out_item_order_no", 64)?;
    let order = books.look_at_order(account.app_id, &fields.required("out_order_no", 64)?);
    if order.setup.stage == OrderStage::Missing {
        return Err(Refusal::new(MISSING));
    }
    let left_fen = books.left_in_all_systems_fen(&order);
    let (rake, commission) = (rake_fen(left_fen), commission_fen(left_fen, order.setup.promotion));
    Ok(json!({ "data": {
        "out_order_no": order.out_order_no,
        "unsettle_amount": left_fen - rake - commission,
        "detail": {
            "pay_info": { "out_order_no": order.out_order_no, "amount": order.setup.total_fen },
            "refund_info": [],
            "payment_rake": rake,
            "life_rake": 0,
            "commission": commission,
        },
    } }))
}

/// What the platform has settled of an order by itself.
pub(crate) fn platform_order(
    books: &Books,
    account: Account<'_>,
    body: &[u8],
) -> Result<Value, Refusal> {
    let listed = ["app_id", "thirdparty_id", "out_order_no", "query_type", "sign"];
    let fields = Fields::read(body, &listed, &READING)?;
    let out_order_no = fields.required("out_order_no", 64)?;
    if !fields.is_number("query_type", 1) {
        return Err(fields.problem("query_type", Problem::Bad, "is not the number 1"));
    }
    let by_itself = |settle: &&AppliedSettle| settle.is_auto_settle;
    let settles: Vec<Value> =
        books.settles_of(account, &out_order_no).filter(by_itself).map(settled_by_itself).collect();
    if settles.is_empty() {
        return Err(Refusal::new(MISSING));
    }
    Ok(json!({ "platform_order": {
        "app_id": account.app_id,
        "out_order_no": out_order_no,
        "query_type": 1,
        "settle_info_list": settles,
    } }))
}

fn settled_by_itself(settle: &AppliedSettle) -> Value {
    let receivers: Vec<Value> = settle
        .settle_params
        .iter()
        .map(|one| json!({ "merchant_uid": one.merchant_uid, "amount": one.amount_fen }))
        .collect();
    json!({
        "out_settle_no": settle.out_settle_no,
        "settle_no": settle.settle_id,
        "settle_param_list": receivers,
        "settle_way": "1",
        "settle_status": settle.status.word(),
        "cps": settle.commission_fen,
        "service_charge": rake_fen(settle.amount_fen),
        "created_at": calendar::second(settle.accepted_at_ms),
        "settled_at": settle.finished_at_ms.map(calendar::second).unwrap_or_default(),
    })
}
