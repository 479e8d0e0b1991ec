//! Whether a settle that Douyin reports is ours. Under one number Douyin may hold ours, a second
//! one of ours (after a FAIL freed the number) and one of another system.

use super::content::{Content, MARK_PREFIX};
use super::record::{Facts, Mark, Origin, Record, Report, ReportedStatus, Request};

/// What a report without our recorded `settle_id` proves by its other facts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proof {
    /// It has our content.
    Ours,
    /// It contradicts our order, item or mark: another system's settle.
    Foreign,
    /// It shows too little to tell.
    Unproven,
}

/// Compares a report with the request that was sent from here.
///
/// If Douyin shows `cp_extra`, that decides: it is the `ext` that we sent, and the mark names the
/// whole content. If Douyin leaves it out, the same order is proof only while a send of ours is
/// unanswered. Otherwise the settle is more likely another system's.
pub(crate) fn proof(record: &Record, report: &Report) -> Proof {
    let Origin::Gateway(request) = &record.origin else {
        return Proof::Foreign;
    };
    match &report.out_settle_no {
        // Douyin may change how it writes our number, and may show the settle of another number.
        Some(number) if number.is_like(&record.key.out_settle_no) => return Proof::Unproven,
        Some(number) if *number != record.key.out_settle_no => return Proof::Foreign,
        Some(_) | None => {}
    }
    let content = &request.content;
    let order = report.facts.out_order_no.as_ref();
    if order.is_some_and(|order| *order != content.out_order_no) {
        return Proof::Foreign;
    }
    let item = content.item_order_id.as_ref().map_or("", |item| item.as_str());
    if report.item.as_ref().is_some_and(|seen| seen != item) {
        return Proof::Foreign;
    }
    match (report.facts.cp_extra.as_deref(), request.sent_ext.as_deref()) {
        (Some(seen), Some(sent)) if seen == sent => Proof::Ours,
        // Our mark comes back unchanged. A caller's own text may come back changed.
        (Some(_), Some(_)) if content.ext.is_some() => Proof::Unproven,
        (Some(_), Some(_)) => Proof::Foreign,
        (Some(seen), None) if !seen.is_empty() => Proof::Foreign,
        (Some(_) | None, None) if order.is_some() => Proof::Ours,
        (None, Some(_)) if order.is_some() && record.evidence.in_doubt() => Proof::Ours,
        (Some(_) | None, None) | (None, Some(_)) => Proof::Unproven,
    }
}

/// Which of several settles under one number the record follows: ours that has not failed, then
/// ours that failed (the recorded one first), then another system's.
pub(crate) fn pick<'a>(record: &Record, reports: &'a [Report]) -> Option<&'a Report> {
    let recorded = record.state.settle_id();
    reports.iter().min_by_key(|report| {
        let other = recorded != Some(&report.settle_id);
        let failed = report.status == ReportedStatus::Fail;
        match record.origin {
            Origin::Gateway(_) => (other && proof(record, report) != Proof::Ours, failed, other),
            Origin::Platform => (other, failed, false),
        }
    })
}

/// Whether an adopted settle is the one that this content asks for. Its record is older than the
/// create: it was made by another gateway of the company or known from a lost database, or it was
/// adopted before the create's insert. Only our mark or the caller's own `ext` proves that it is;
/// only a fact that contradicts the content proves that it is not.
pub(crate) fn proof_of_adopted(content: &Content, mark: Mark, facts: &Facts) -> Proof {
    let order = facts.out_order_no.as_ref();
    let item = facts.item_order_id.as_ref();
    if order.is_some_and(|seen| *seen != content.out_order_no)
        || item.is_some_and(|seen| Some(seen) != content.item_order_id.as_ref())
    {
        return Proof::Foreign;
    }
    // A settle of the whole order shows no item, and Douyin may leave the item out.
    let whole = item == content.item_order_id.as_ref();
    match (facts.cp_extra.as_deref(), Request::ext_for(content, mark)) {
        // The mark covers the item too; a caller's own text does not.
        (Some(seen), Some(sent)) if seen == sent && (whole || content.ext.is_none()) => Proof::Ours,
        // Another mark means another content. A caller's own text may have come back changed.
        (Some(seen), _) if seen.starts_with(MARK_PREFIX) => Proof::Foreign,
        (Some(_) | None, Some(_) | None) => Proof::Unproven,
    }
}
