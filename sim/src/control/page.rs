//! The control page: what is there, and a form for each thing that can be changed.

use super::actions::{PROMOTIONS, STAGES};
use super::html::Html;
use super::views::{callback_script_text, promotion_word, script_text, stage_word, timing_text};
use super::{callbacks, items};
use crate::calendar;
use crate::choices::Choices;
use crate::core::Core;
use crate::endpoint::Endpoint;
use crate::orders::OrderFacts;
use crate::rules::AppRules;
use crate::settles::AppliedSettle;
use crate::simulator::Shared;

/// How many settles, callbacks and orders the page shows; `/sim/settles` and so on show them all.
pub(super) const ROWS_MAX: usize = 50;

const STYLE: &str = "<style>\
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem}\
table{border-collapse:collapse;width:100%;font-size:13px}\
td,th{border:1px solid #bbb;padding:.2rem .4rem;text-align:left;overflow-wrap:anywhere}\
form{margin:.5rem 0 1rem}label{display:inline-block;margin:0 1rem .3rem 0}\
td form{margin:0}h2{margin-top:2rem}\
</style>";

/// The whole page.
pub(super) fn page(shared: &Shared) -> String {
    shared.locked(|core, now_ms| {
        let mut html = Html::new();
        html.raw("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
        html.raw("<meta name=\"viewport\" content=\"width=device-width\">");
        html.raw("<title>Douyin simulator</title>").raw(STYLE).raw("</head><body>\n");
        html.raw("<h1>Douyin simulator</h1>\n<p>No account, no money. Seed ");
        html.text(&core.seed().to_string());
        html.raw(". The same as JSON: <a href=\"/sim/settles\">settles</a>, ");
        html.raw("<a href=\"/sim/orders\">orders</a>, <a href=\"/sim/apps\">apps</a>, ");
        html.raw("<a href=\"/sim/faults\">faults</a>, <a href=\"/sim/clock\">clock</a>.</p>\n");
        clock(&mut html, now_ms, shared.clock.ahead_ms());
        settles(&mut html, core);
        callbacks::section(&mut html, core);
        orders(&mut html, core);
        apps(&mut html, core, now_ms);
        faults(&mut html, core);
        html.raw("</body></html>\n");
        html.finish()
    })
}

fn clock(html: &mut Html, now_ms: u64, ahead_ms: u64) {
    html.raw("<h2>Clock</h2>\n<p>").text(&calendar::text(now_ms)).raw(" in China (UTC+8), ");
    html.text(&ahead_ms.to_string()).raw(" ms ahead of real time.</p>\n");
    html.raw("<form method=\"post\" action=\"/sim/clock\">\n");
    html.field("advance_days", "").field("advance_ms", "");
    html.raw("<button>Advance</button></form>\n");
}

fn settles(html: &mut Html, core: &Core) {
    html.raw("<h2>Settles</h2>\n");
    shown(html, core.books.settles().len());
    html.raw("<table><tr><th>out_settle_no<th>settle_id<th>out_order_no<th>item<th>amount_fen");
    html.raw("<th>status<th>by<th>accepted<th>finished<th>end it</tr>\n");
    for settle in core.books.settles().rev().take(ROWS_MAX) {
        settle_row(html, settle);
    }
    html.raw("</table>\n");
}

fn settle_row(html: &mut Html, settle: &AppliedSettle) {
    let by = match (settle.by_gateway, settle.is_auto_settle) {
        (true, _) => "create",
        (false, true) => "platform",
        (false, false) => "somebody else",
    };
    let cells = [
        settle.out_settle_no.as_str(),
        settle.settle_id.as_str(),
        settle.out_order_no.as_str(),
        settle.item_order_id.as_deref().unwrap_or("whole order"),
        &settle.amount_fen.to_string(),
        settle.status.word(),
        by,
        &calendar::text(settle.accepted_at_ms),
        &settle.finished_at_ms.map(calendar::text).unwrap_or_default(),
    ];
    html.raw("<tr>");
    for cell in cells {
        html.raw("<td>").text(cell).raw("</td>");
    }
    html.raw("<td>");
    if !settle.status.is_final() {
        html.raw("<form method=\"post\" action=\"/sim/settles/finish\">");
        html.raw("<input type=\"hidden\" name=\"settle_id\" value=\"").text(&settle.settle_id);
        html.raw("\"><button name=\"status\" value=\"SUCCESS\">SUCCESS</button>");
        html.raw("<button name=\"status\" value=\"FAIL\">FAIL</button></form>");
    }
    html.raw("</td></tr>\n");
}

fn orders(html: &mut Html, core: &Core) {
    html.raw("<h2>Orders</h2>\n");
    shown(html, core.books.orders().len());
    html.raw("<table><tr><th>app_id<th>out_order_no<th>stage<th>promotion<th>items<th>total_fen");
    html.raw("<th>left_fen<th>paid<th>next due<th>a whole settle now</tr>\n");
    for order in core.books.orders().rev().take(ROWS_MAX) {
        order_row(html, &core.books.order_facts(order));
    }
    html.raw("</table>\n<form method=\"post\" action=\"/sim/orders\">\n");
    html.field("app_id", "").field("out_order_no", "");
    html.select("stage", &with_blank(&STAGES), "").field("total_fen", "").field("items", "");
    html.select("promotion", &with_blank(&PROMOTIONS), "");
    html.raw("<button>Make or change</button>\n<p>items: <code>any</code>, or ");
    html.raw("<code>ID FEN used, ID FEN unused, ID FEN 1/3</code>, the last a card for three ");
    html.raw("uses. What is left empty stays as it is.</p></form>\n");
}

fn order_row(html: &mut Html, order: &OrderFacts) {
    let whole = match order.whole_err_no {
        0 => "accepted".to_owned(),
        err_no => format!("{err_no} {}", order.whole_err_msg),
    };
    html.row(&[
        &order.app_id,
        &order.out_order_no,
        stage_word(order.setup.stage),
        promotion_word(order.setup.promotion),
        &items::written_out(order.setup.items.as_deref()),
        &order.setup.total_fen.to_string(),
        &order.left_fen.to_string(),
        &order.paid_at_ms.map(calendar::text).unwrap_or_default(),
        &order.due_next_at_ms.map(calendar::text).unwrap_or_default(),
        &whole,
    ]);
}

fn apps(html: &mut Html, core: &Core, now_ms: u64) {
    html.raw("<h2>Apps</h2>\n<table><tr><th>app_id<th>timing<th>automatic settlement");
    html.raw("<th>partial settlement<th>tokens fetched<th>stolen<th>alive<th>callbacks to</tr>\n");
    for app_id in core.tokens.app_ids().iter().take(ROWS_MAX) {
        let AppRules { automatic_settlement, partial_settlement, timing } = core.books.app(app_id);
        let (fetched, stolen) = core.tokens.count(app_id);
        html.row(&[
            app_id,
            &timing_text(timing),
            yes_or_no(automatic_settlement),
            yes_or_no(partial_settlement),
            &fetched.to_string(),
            &stolen.to_string(),
            &core.tokens.alive(now_ms, app_id).to_string(),
            core.outbox.console_url(app_id).unwrap_or("nowhere"),
        ]);
    }
    html.raw("</table>\n<form method=\"post\" action=\"/sim/apps\">\n").field("app_id", "");
    html.field("timing", "").select("automatic_settlement", &["", "yes", "no"], "");
    html.select("partial_settlement", &["", "yes", "no"], "").field("client_secret", "");
    html.field("callback_url", "");
    html.raw("<button>Change or add</button>\n<p>timing: <code>fulfilled D+3</code> or ");
    html.raw("<code>paid D+7</code>. A secret changes the app's, or adds the app. callback_url: ");
    html.raw("an http address or <code>none</code>; the key is under ");
    html.raw("<a href=\"/sim/platform-key\">/sim/platform-key?app_id=…</a>.</p></form>\n");
}

fn faults(html: &mut Html, core: &Core) {
    html.raw("<h2>Faults and choices</h2>\n<form method=\"post\" action=\"/sim/faults\">\n");
    html.field("faults_per_10_000", &core.books.weather.faults_per_10_000.to_string());
    for endpoint in Endpoint::ALL {
        html.field(endpoint.name(), &script_text(core, endpoint));
    }
    html.field("callback", &callback_script_text(core));
    html.raw("<p>create, query and token: <code>none</code>, <code>refuse 23000</code>, ");
    html.raw("<code>drop</code>, <code>apply-then drop</code>, <code>hang</code>, ");
    html.raw("<code>delay 500 normal</code>, <code>cut</code>, <code>html</code>, ");
    html.raw("<code>empty</code>, <code>wrong-types</code>, <code>accept-without-id</code>, ");
    html.raw("<code>find-nothing</code>, <code>huge 1000000</code>, ");
    html.raw("<code>answer 503 {}</code>.</p>\n<p>callback: <code>none</code>, ");
    html.raw("<code>lose</code>, <code>lose-answer</code>, <code>twice</code>, ");
    html.raw("<code>wander 60000</code>, <code>behind</code>, <code>delay 500 normal</code>, ");
    html.raw("<code>wrong-signature</code>, <code>truncate</code>, <code>cut</code>, ");
    html.raw("<code>never</code>.</p>\n<p>What Douyin's documents leave open:</p>\n");
    for (name, value) in core.books.choices.named() {
        let words = Choices::words(name);
        if words.is_empty() {
            html.field(name, &value);
        } else {
            html.select(name, words, &value);
        }
    }
    html.raw("<button>Choose</button></form>\n");
    html.raw("<form method=\"post\" action=\"/sim/faults\">\n<label>choices ");
    html.raw("<input name=\"choices\" placeholder=\"default, or seed 7\"></label>\n");
    html.raw("<button>Choose all anew</button></form>\n");
    html.raw("<form method=\"post\" action=\"/sim/faults\">");
    html.raw("<button name=\"release\" value=\"yes\">End what hangs</button></form>\n");
}

/// How many of how many.
pub(super) fn shown(html: &mut Html, total: usize) {
    html.raw("<p>").text(&total.min(ROWS_MAX).to_string()).raw(" of ");
    html.text(&total.to_string()).raw(", newest first.</p>\n");
}

fn with_blank<T>(words: &[(&'static str, T)]) -> Vec<&'static str> {
    std::iter::once("").chain(words.iter().map(|(word, _)| *word)).collect()
}

fn yes_or_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}
