//! Which fields a message from Douyin names.
//!
//! "param error" is one number for every field. If its text names a field, the caller is told
//! which.

/// Douyin's names of the fields of both calls, old ones too, and the contract's names.
const NAMES: &[(&str, &str)] = &[
    ("amount", "settle_params.amount_fen"),
    ("app_id", "app_id"),
    ("cp_extra", "ext"),
    ("ext", "ext"),
    ("item_order_id", "item_order_id"),
    ("merchant_uid", "settle_params.merchant_uid"),
    ("notify_url", "notify_url"),
    ("order_id", "order_id"),
    ("out_order_id", "out_order_no"),
    ("out_order_no", "out_order_no"),
    ("out_settle_id", "out_settle_no"),
    ("out_settle_no", "out_settle_no"),
    ("settle_desc", "settle_desc"),
    ("settle_id", "settle_id"),
    ("settle_param", "settle_params"),
    ("settle_params", "settle_params"),
];

/// The fields of the contract that the message names, in its order, each once.
pub fn named_fields(err_msg: &str) -> Vec<&'static str> {
    let mut fields = Vec::new();
    let words = err_msg.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    for word in words {
        let known = NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
        if let Some((_, field)) = known
            && !fields.contains(field)
        {
            fields.push(*field);
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_words_are_read_in_any_language() {
        for (err_msg, fields) in [
            ("param error: settle_desc is too long", &["settle_desc"][..]),
            ("参数错误：out_settle_no不能为空", &["out_settle_no"]),
            (
                "invalid settle_params[0].merchant_uid",
                &["settle_params", "settle_params.merchant_uid"],
            ),
            ("Field validation for 'OUT_ORDER_ID' failed, out_order_no", &["out_order_no"]),
            ("cp_extra, ext: amount", &["ext", "settle_params.amount_fen"]),
            ("param error", &[]),
            ("next extension reorder_ids", &[]),
            ("", &[]),
        ] {
            assert_eq!(named_fields(err_msg), fields, "{err_msg}");
        }
    }

    #[test]
    fn names_are_sorted_and_unique() {
        assert!(NAMES.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}
