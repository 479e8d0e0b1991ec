//! The items of an order as people write them.
//!
//! As text `ID FEN PROGRESS`, separated by commas, where PROGRESS is `unused`, `used` or, of a
//! multi-use card, `1/3`; `any` stands for an order that has every item. In JSON also an array of
//! objects with the field names of [`ItemSetup`].

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::Value;

use super::Problem;
use super::actions::FEN_MAX;
use crate::orders::ItemSetup;

const ITEMS_MAX: usize = 100;
const USES_MAX: u32 = 1_000;
const ID_BYTES_MAX: usize = 64;

/// What stands for "every item that is asked for".
const ANY: &str = "any";

/// Reads the items of an order; `None` in there is any item.
pub(super) fn read(value: &Value) -> Result<Option<Vec<ItemSetup>>, Problem> {
    let items = match value {
        Value::String(text) if text.trim() == ANY => return Ok(None),
        Value::String(text) => text.split(',').map(written).collect::<Result<Vec<_>, _>>()?,
        Value::Array(items) => items.iter().map(structured).collect::<Result<Vec<_>, _>>()?,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            return Err(Problem::bad("items must be a text or an array."));
        }
    };
    if items.is_empty() || items.len() > ITEMS_MAX {
        return Err(Problem::bad(format!("items must be {ANY}, or 1 to {ITEMS_MAX} of them.")));
    }
    let mut seen = HashSet::new();
    for item in &items {
        check(item)?;
        if !seen.insert(&item.item_order_id) {
            return Err(Problem::bad(format!("item {:?} is there twice.", item.item_order_id)));
        }
    }
    Ok(Some(items))
}

/// Writes them so that [`read`] understands; an id with a space or a comma in it looks odd.
pub(super) fn written_out(items: Option<&[ItemSetup]>) -> String {
    let Some(items) = items else {
        return ANY.to_owned();
    };
    let items = items.iter().map(|item| {
        let progress = match (item.uses_done, item.uses_total) {
            (0, 1) => "unused".to_owned(),
            (1, 1) => "used".to_owned(),
            (done, total) => format!("{done}/{total}"),
        };
        format!("{} {} {progress}", item.item_order_id, item.amount_fen)
    });
    items.collect::<Vec<_>>().join(", ")
}

fn written(text: &str) -> Result<ItemSetup, Problem> {
    let odd = || {
        let form = "ID FEN used, ID FEN unused or ID FEN 1/3";
        Problem::bad(format!("An item is written {form}, not {:?}.", text.trim()))
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    let &[item_order_id, amount_fen, progress] = words.as_slice() else {
        return Err(odd());
    };
    let amount_fen = amount_fen.parse().map_err(|_| odd())?;
    let (uses_done, uses_total) = match progress {
        "unused" => (0, 1),
        "used" => (1, 1),
        uses => {
            let (done, total) = uses.split_once('/').ok_or_else(odd)?;
            (done.parse().map_err(|_| odd())?, total.parse().map_err(|_| odd())?)
        }
    };
    Ok(ItemSetup::card(item_order_id, amount_fen, uses_done, uses_total))
}

/// An item in JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Structured {
    item_order_id: String,
    amount_fen: i64,
    uses_done: u32,
    #[serde(default = "one")]
    uses_total: u32,
}

fn one() -> u32 {
    1
}

fn structured(value: &Value) -> Result<ItemSetup, Problem> {
    let item = Structured::deserialize(value)
        .map_err(|error| Problem::bad(format!("An item is not as it should be: {error}.")))?;
    Ok(ItemSetup::card(&item.item_order_id, item.amount_fen, item.uses_done, item.uses_total))
}

fn check(item: &ItemSetup) -> Result<(), Problem> {
    let id = &item.item_order_id;
    if id.is_empty() || id.len() > ID_BYTES_MAX {
        return Err(Problem::bad(format!("An item's id has 1 to {ID_BYTES_MAX} bytes.")));
    }
    if !(0..=FEN_MAX).contains(&item.amount_fen) {
        return Err(Problem::bad(format!("item {id:?} must be worth 0 to {FEN_MAX} fen.")));
    }
    if item.uses_total == 0 || item.uses_total > USES_MAX || item.uses_done > item.uses_total {
        let sentence = format!("item {id:?} must have 1 to {USES_MAX} uses, and no more done.");
        return Err(Problem::bad(sentence));
    }
    Ok(())
}
