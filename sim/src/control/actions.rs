//! What can be changed from outside: read all of it first, then do it, so that a request that is
//! refused changes nothing.

use std::str::FromStr;
use std::time::Duration;

use serde_json::Value;

use super::input::Input;
use super::{Problem, callbacks, items, views};
use crate::calendar::DAY_MS;
use crate::callbacks::CallbackScript;
use crate::choices::Choices;
use crate::clock::AHEAD_MAX;
use crate::core::Core;
use crate::endpoint::Endpoint;
use crate::faults::Script;
use crate::orders::{OrderSetup, OrderStage, Promotion};
use crate::rules::Timing;
use crate::settles::Status;
use crate::simulator::Shared;

/// The most that an order or an item may be worth: ten billion yuan.
pub(super) const FEN_MAX: i64 = 1_000_000_000_000;
/// The apps that can be added, those of the start included.
const APPS_MAX: usize = 1_000;
const DAYS_MAX: u16 = 3_650;
const NUMBER_BYTES_MAX: usize = 64;
const SECRET_BYTES_MAX: usize = 256;

/// The words for the stage of an order.
pub(super) const STAGES: [(&str, OrderStage); 4] = [
    ("missing", OrderStage::Missing),
    ("unpaid", OrderStage::Unpaid),
    ("paid", OrderStage::Paid),
    ("fulfilled", OrderStage::Fulfilled),
];
pub(super) const PROMOTIONS: [(&str, Promotion); 2] =
    [("none", Promotion::None), ("cps", Promotion::Cps)];

/// Moves the clock forward.
pub(super) fn clock(shared: &Shared, input: &Input) -> Result<Value, Problem> {
    input.only(&["advance_ms", "advance_days"])?;
    let limit_ms = u64::try_from(AHEAD_MAX.as_millis()).unwrap_or(u64::MAX);
    let by_ms = input.number("advance_ms", &(0..=limit_ms))?;
    let by_days = input.number("advance_days", &(0..=limit_ms / DAY_MS))?;
    if by_ms.is_none() && by_days.is_none() {
        return Err(Problem::bad("advance_ms or advance_days is needed."));
    }
    let by_ms = by_ms.unwrap_or(0) + by_days.unwrap_or(0) * DAY_MS;
    if shared.clock.ahead_ms() + by_ms > limit_ms {
        return Err(Problem::bad("The clock cannot be moved ahead by more than a hundred years."));
    }
    shared.advance(Duration::from_millis(by_ms));
    Ok(views::clock(shared))
}

/// Makes an order, or changes one.
pub(super) fn order(shared: &Shared, input: &Input) -> Result<Value, Problem> {
    input.only(&["app_id", "out_order_no", "stage", "total_fen", "items", "promotion"])?;
    let out_order_no = input.required("out_order_no", NUMBER_BYTES_MAX)?;
    let stage = input.word("stage", &STAGES)?;
    let total_fen = input.number("total_fen", &(0..=FEN_MAX))?;
    let items = input.value("items").map(items::read).transpose()?;
    let promotion = input.word("promotion", &PROMOTIONS)?;
    shared.with(|core, _| {
        let app_id = known_app(core, input)?;
        let before = core.books.order(&app_id, &out_order_no);
        let before = before.map(|order| order.setup.clone()).unwrap_or_default();
        let setup = OrderSetup {
            stage: stage.unwrap_or(before.stage),
            total_fen: total_fen.unwrap_or(before.total_fen),
            items: items.unwrap_or(before.items),
            promotion: promotion.unwrap_or(before.promotion),
        };
        if !core.books.set_order(&app_id, &out_order_no, setup) {
            return Err(Problem::bad("There are too many orders; start the simulator anew."));
        }
        let order = core.books.order(&app_id, &out_order_no);
        Ok(order.map(|order| views::order(&core.books.order_facts(order))).unwrap_or_default())
    })
}

/// Changes what is switched on for an app; with a secret, also adds one.
pub(super) fn app(shared: &Shared, input: &Input) -> Result<Value, Problem> {
    input.only(&[
        "app_id",
        "client_secret",
        "timing",
        "automatic_settlement",
        "partial_settlement",
        "callback_url",
        "platform_key",
    ])?;
    let callback_url = callbacks::console_url(input)?;
    let platform_key = callbacks::private_key(input)?;
    let timing = input.text("timing")?.map(|text| timing(&text)).transpose()?;
    let automatic_settlement = input.yes_or_no("automatic_settlement")?;
    let partial_settlement = input.yes_or_no("partial_settlement")?;
    let secret = match input.text("client_secret")? {
        Some(_) => Some(input.required("client_secret", SECRET_BYTES_MAX)?),
        None => None,
    };
    shared.with(|core, now_ms| {
        let app_id = match &secret {
            None => known_app(core, input)?,
            Some(secret) => {
                let app_id = input.required("app_id", NUMBER_BYTES_MAX)?;
                let known = core.tokens.app_ids();
                if known.len() >= APPS_MAX && !known.contains(&app_id) {
                    return Err(Problem::bad(format!("There are {APPS_MAX} apps already.")));
                }
                core.tokens.add_app(&app_id, secret);
                app_id
            }
        };
        let mut rules = core.books.app(&app_id);
        rules.timing = timing.unwrap_or(rules.timing);
        rules.automatic_settlement = automatic_settlement.unwrap_or(rules.automatic_settlement);
        rules.partial_settlement = partial_settlement.unwrap_or(rules.partial_settlement);
        core.books.set_app(&app_id, rules);
        if let Some(url) = callback_url {
            core.outbox.set_console_url(&app_id, url);
        }
        if let Some(key) = platform_key {
            core.outbox.set_key(&app_id, key);
        }
        Ok(views::app(core, now_ms, &app_id))
    })
}

/// Chooses what goes wrong, and what Douyin leaves open.
pub(super) fn faults(shared: &Shared, input: &Input) -> Result<Value, Problem> {
    let names = Choices::names();
    let mut listed = vec!["faults_per_10_000", "choices", "release", "callback"];
    listed.extend(Endpoint::ALL.map(Endpoint::name));
    listed.extend(&names);
    input.only(&listed)?;
    let faults_per_10_000 = input.number("faults_per_10_000", &(0..=10_000))?;
    let release = input.yes_or_no("release")?.unwrap_or(false);
    let mut scripts: Vec<(Endpoint, Option<Script>)> = Vec::new();
    for endpoint in Endpoint::ALL {
        let Some(text) = input.text(endpoint.name())? else {
            continue;
        };
        // The page sends back what it showed, and not every script survives being text.
        let before = shared.locked(|core, _| views::script_text(core, endpoint));
        if text != before.trim() {
            scripts.push((endpoint, script(&text)?));
        }
    }
    let before = shared.locked(|core, _| views::callback_script_text(core));
    let callback = input.text("callback")?.filter(|text| *text != before);
    let callback: Option<Option<CallbackScript>> =
        callback.map(|text| script(&text)).transpose()?;
    let choices_anew = input.text("choices")?.map(|text| choices(&text)).transpose()?;
    let mut set = Vec::new();
    for name in names {
        if let Some(text) = input.text(name)? {
            set.push((name, text));
        }
    }
    shared.with(|core, _| {
        let mut choices = choices_anew.unwrap_or_else(|| core.books.choices.clone());
        for (name, text) in set {
            let done = choices.set(name, &text);
            done.map_err(|sentence| Problem::bad(format!("{sentence}.")))?;
        }
        core.books.choices = choices;
        for (endpoint, script) in scripts {
            core.scripts.set_always(endpoint, script);
        }
        if let Some(script) = callback {
            core.outbox.scripts.set_always(script);
        }
        if let Some(faults_per_10_000) = faults_per_10_000 {
            core.set_faults_per_10_000(faults_per_10_000);
        }
        if release {
            core.release();
        }
        Ok(views::faults_of(core))
    })
}

/// Ends a settle.
pub(super) fn finish(shared: &Shared, input: &Input) -> Result<Value, Problem> {
    input.only(&["settle_id", "status"])?;
    let settle_id = input.required("settle_id", NUMBER_BYTES_MAX)?;
    let words = [("SUCCESS", Status::Success), ("FAIL", Status::Fail)];
    let status = input.word("status", &words)?;
    let status = status.ok_or_else(|| Problem::bad("status is needed: SUCCESS or FAIL."))?;
    shared.with(|core, _| {
        if !core.books.finish(&settle_id, status) {
            return Err(Problem::unknown(format!("There is no settle {settle_id:?}.")));
        }
        Ok(core.books.settle(&settle_id).map(views::settle).unwrap_or_default())
    })
}

/// The app that is meant; where there is only one, it need not be said.
pub(super) fn known_app(core: &Core, input: &Input) -> Result<String, Problem> {
    let known = core.tokens.app_ids();
    match (input.text("app_id")?, known.as_slice()) {
        (Some(app_id), _) if known.contains(&app_id) => Ok(app_id),
        (Some(app_id), _) => {
            let sentence = "with a client_secret, POST /sim/apps adds it";
            Err(Problem::bad(format!("There is no app {app_id:?}; {sentence}.")))
        }
        (None, [only]) => Ok(only.clone()),
        (None, _) => Err(Problem::bad("app_id is needed, because there is not just one app.")),
    }
}

fn timing(text: &str) -> Result<Timing, Problem> {
    let (from, days) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let days = days.trim_start();
    let days = days.strip_prefix("D+").unwrap_or(days).parse().ok();
    match (from, days.filter(|days| *days <= DAYS_MAX)) {
        ("fulfilled", Some(days)) => Ok(Timing::Fulfilled { days }),
        ("paid", Some(days)) => Ok(Timing::Paid { days }),
        (_, _) => {
            let sentence = format!("fulfilled D+N or paid D+N, with N from 0 to {DAYS_MAX}");
            Err(Problem::bad(format!("timing must be {sentence}.")))
        }
    }
}

/// `none` ends a standing script.
fn script<T: FromStr<Err = String>>(text: &str) -> Result<Option<T>, Problem> {
    if text == "none" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|sentence| Problem::bad(format!("{sentence}.")))
}

/// All choices at once.
fn choices(text: &str) -> Result<Choices, Problem> {
    if text == "default" {
        return Ok(Choices::default());
    }
    let seed = text.strip_prefix("seed").and_then(|seed| seed.trim_start().parse().ok());
    let seed =
        seed.ok_or_else(|| Problem::bad("choices must be default, or seed and a number."))?;
    Ok(Choices::from_seed(seed))
}
