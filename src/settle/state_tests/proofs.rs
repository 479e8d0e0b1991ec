//! Whose settle a report speaks of, fact by fact, and which of its facts are kept.

use super::super::proof::{Proof, proof, proof_of_adopted};
use super::*;
use Proof::{Foreign, Ours, Unproven};

fn order(text: &str) -> Option<OutOrderNo> {
    Some(OutOrderNo::parse(text).unwrap())
}

fn item(text: &str) -> Option<ItemOrderId> {
    Some(ItemOrderId::parse(text).unwrap())
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// A report that a query by number may give of a settle whose id is not recorded.
fn told(change: impl FnOnce(&mut Report)) -> Report {
    let mut report = bare("ots1", ReportedStatus::Processing);
    change(&mut report);
    report
}

#[test]
fn a_report_is_ours_by_its_mark_and_foreign_by_any_fact_that_differs() {
    let ours = |report: &mut Report| {
        report.out_settle_no = Some(key().out_settle_no);
        report.item = text("");
        report.facts.out_order_no = order("order-1");
        report.facts.cp_extra = Some(content().mark());
    };
    let proof_with = |change: fn(&mut Report)| {
        let mut report = told(ours);
        change(&mut report);
        proof(&submitting(1), &report)
    };
    assert_eq!(proof_with(|_| {}), Ours);
    assert_eq!(
        proof_with(|report| report.out_settle_no = Some(OutSettleNo::parse("s-2").unwrap())),
        Foreign
    );
    assert_eq!(proof_with(|report| report.facts.out_order_no = order("order-2")), Foreign);
    assert_eq!(proof_with(|report| report.item = text("item-1")), Foreign);
    assert_eq!(proof_with(|report| report.facts.cp_extra = text("sg1:other")), Foreign);
    assert_eq!(proof_with(|report| report.facts.cp_extra = text("")), Foreign);
}

/// Douyin leaves `cp_extra` out. The order proves something only while a send may explain it.
#[test]
fn without_the_mark_the_order_is_proof_while_a_send_is_unaccounted_for() {
    let of_the_order = told(|report| report.facts.out_order_no = order("order-1"));
    assert_eq!(proof(&submitting(1), &of_the_order), Ours);
    assert_eq!(proof(&submitting_exists(0), &of_the_order), Unproven);
    assert_eq!(proof(&submitting(1), &told(|_| {})), Unproven);
}

/// A settle that was adopted before a create asked for it, compared with that create's content.
#[test]
fn an_adopted_settle_is_the_creates_own_only_by_its_mark_or_the_callers_text() {
    let marked = content();
    let own_text = Content { ext: Some(Ext::parse("mine").unwrap()), ..content() };
    let of_item = Content { item_order_id: item("item-1"), ..content() };
    let own_text_of_item = Content { item_order_id: item("item-1"), ..own_text.clone() };
    let facts = |out_order_no, item_order_id, cp_extra| Facts {
        out_order_no,
        item_order_id,
        cp_extra,
        ..Facts::default()
    };
    let (mark, same) = (Some(content().mark()), || order("order-1"));
    for (content, on, facts, expected) in [
        // The mark is proof even if Douyin shows nothing else.
        (&marked, Mark::On, facts(same(), None, mark.clone()), Ours),
        (&marked, Mark::On, facts(None, None, mark.clone()), Ours),
        (&of_item, Mark::On, facts(same(), None, Some(of_item.mark())), Ours),
        (&of_item, Mark::On, facts(same(), item("item-1"), Some(of_item.mark())), Ours),
        // Another order or item means another settle, whatever else is shown.
        (&marked, Mark::On, facts(order("order-2"), None, mark.clone()), Foreign),
        (&marked, Mark::On, facts(same(), item("item-1"), mark.clone()), Foreign),
        (&of_item, Mark::On, facts(same(), item("item-2"), Some(of_item.mark())), Foreign),
        // Another mark means another content, also if this content has no mark.
        (&marked, Mark::On, facts(same(), None, text("sg1:other")), Foreign),
        (&marked, Mark::Off, facts(same(), None, mark.clone()), Foreign),
        (&own_text, Mark::On, facts(same(), None, mark), Foreign),
        // The caller's own text is proof for the item with which it was sent.
        (&own_text, Mark::On, facts(same(), None, text("mine")), Ours),
        (&own_text_of_item, Mark::On, facts(same(), item("item-1"), text("mine")), Ours),
        (&own_text_of_item, Mark::On, facts(same(), None, text("mine")), Unproven),
        // A text that came back changed, or none, proves nothing.
        (&own_text, Mark::On, facts(same(), None, text("altered")), Unproven),
        (&marked, Mark::On, facts(same(), None, text("mine")), Unproven),
        (&marked, Mark::On, facts(same(), None, None), Unproven),
        (&marked, Mark::Off, facts(same(), None, None), Unproven),
    ] {
        assert_eq!(proof_of_adopted(content, on, &facts), expected, "{content:?} {on:?} {facts:?}");
    }
}

#[test]
fn before_the_end_no_amount_is_taken_for_the_last_word() {
    let whole = Facts {
        wallet_settle_id: Some(WalletSettleId::parse("7273").unwrap()),
        inner_settle_id: Some(InnerSettleId::parse("7274").unwrap()),
        order_id: None,
        out_order_no: order("order-1"),
        item_order_id: item("item-1"),
        cp_extra: text("mine"),
        settle_status: text("PROCESSING"),
        settle_amount: Some(Fen::new(1)),
        rake: Some(Fen::new(2)),
        commission: Some(Fen::new(3)),
        platform_ticket: Some(Fen::new(4)),
        settle_detail: text("detail"),
        message: text("message"),
        settle_time: Some(at(5)),
        auto_settle: Some(false),
    };
    let of = |status| Report { facts: whole.clone(), ..bare("ots1", status) };
    for status in [ReportedStatus::Success, ReportedStatus::Fail] {
        assert_eq!(of(status).lasting_facts(), whole);
    }
    let lasting = Facts {
        settle_amount: None,
        rake: None,
        commission: None,
        platform_ticket: None,
        settle_detail: None,
        message: None,
        settle_time: None,
        ..whole.clone()
    };
    for status in [ReportedStatus::Init, ReportedStatus::Processing, ReportedStatus::Unlisted] {
        assert_eq!(of(status).lasting_facts(), lasting);
    }
}

#[test]
fn the_states_have_their_names_and_three_of_them_are_final() {
    for (kind, name, is_final) in [
        (StateKind::Submitting, "SUBMITTING", false),
        (StateKind::Processing, "PROCESSING", false),
        (StateKind::Succeeded, "SUCCEEDED", true),
        (StateKind::Failed, "FAILED", true),
        (StateKind::Rejected, "REJECTED", true),
    ] {
        assert_eq!((kind.as_str(), kind.is_final()), (name, is_final));
    }
    for (record, is_final) in [(submitting(1), false), (processing(0), false), (failed(), true)] {
        assert_eq!(record.is_final(), is_final, "{record:?}");
    }
}
