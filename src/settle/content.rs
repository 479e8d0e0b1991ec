//! What a caller asked to be settled. Two requests under one number are the same settle if and only
//! if their contents are equal.

use super::ids::{Ext, ItemOrderId, MerchantUid, NotifyUrl, OutOrderNo, SettleDesc};
use super::money::Fen;

/// The beginning of every mark. Its version allows another encoding while old settles are still
/// recognised.
pub(crate) const MARK_PREFIX: &str = "sg1:";

/// One receiver other than the seller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SettleParam {
    pub merchant_uid: MerchantUid,
    pub amount: Fen,
}

/// The caller's request without its number: a repeat must have equal content. Defaults that the
/// gateway fills in (a callback address, the mark) are not content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Content {
    pub out_order_no: OutOrderNo,
    /// `None` settles the whole order.
    pub item_order_id: Option<ItemOrderId>,
    pub settle_desc: SettleDesc,
    /// In the caller's order.
    pub settle_params: Vec<SettleParam>,
    pub ext: Option<Ext>,
    pub notify_url: Option<NotifyUrl>,
}

impl Content {
    /// The text that proves a settle at Douyin to have this content. It is sent as `ext` when the
    /// caller leaves that empty, and Douyin shows it as `cp_extra`.
    ///
    /// [`MARK_PREFIX`] and the first 128 bits of a SHA-256 in hex.
    pub fn mark(&self) -> String {
        let digest = ring::digest::digest(&ring::digest::SHA256, &self.canonical_bytes());
        format!("{MARK_PREFIX}{}", hex::encode(&digest.as_ref()[..16]))
    }

    /// The names of the fields that differ, as in the proto. Never their values.
    pub fn differing_fields(&self, other: &Content) -> Vec<&'static str> {
        let pairs = [
            ("out_order_no", self.out_order_no != other.out_order_no),
            ("item_order_id", self.item_order_id != other.item_order_id),
            ("settle_desc", self.settle_desc != other.settle_desc),
            ("settle_params", self.settle_params != other.settle_params),
            ("ext", self.ext != other.ext),
            ("notify_url", self.notify_url != other.notify_url),
        ];
        pairs.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
    }

    /// Every field with its length in front, so that different contents have different bytes.
    fn canonical_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256);
        let mut field = |text: Option<&str>| match text {
            None => bytes.push(0),
            Some(text) => {
                bytes.push(1);
                bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
                bytes.extend_from_slice(text.as_bytes());
            }
        };
        field(Some(self.out_order_no.as_str()));
        field(self.item_order_id.as_ref().map(ItemOrderId::as_str));
        field(Some(self.settle_desc.as_str()));
        field(self.ext.as_ref().map(Ext::as_str));
        field(self.notify_url.as_ref().map(NotifyUrl::as_str));
        for param in &self.settle_params {
            field(Some(param.merchant_uid.as_str()));
            field(Some(&param.amount.get().to_string()));
        }
        bytes
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn content() -> Content {
        let receiver = |uid: &str, fen| SettleParam {
            merchant_uid: MerchantUid::parse(uid).unwrap(),
            amount: Fen::new(fen),
        };
        Content {
            out_order_no: OutOrderNo::parse("order-1").unwrap(),
            item_order_id: None,
            settle_desc: SettleDesc::parse("store share").unwrap(),
            settle_params: vec![receiver("7001", 120), receiver("7002", 30)],
            ext: None,
            notify_url: None,
        }
    }

    #[test]
    fn a_difference_in_any_field_is_named_and_changes_the_mark() {
        let base = content();
        assert_eq!(base.differing_fields(&content()), Vec::<&str>::new());
        let mut reordered = content();
        reordered.settle_params.reverse();
        let variants = [
            (
                "out_order_no",
                Content { out_order_no: OutOrderNo::parse("order-2").unwrap(), ..content() },
            ),
            (
                "item_order_id",
                Content { item_order_id: Some(ItemOrderId::parse("motb1").unwrap()), ..content() },
            ),
            (
                "settle_desc",
                Content { settle_desc: SettleDesc::parse("other").unwrap(), ..content() },
            ),
            ("settle_params", reordered),
            ("ext", Content { ext: Some(Ext::parse("x").unwrap()), ..content() }),
            (
                "notify_url",
                Content {
                    notify_url: Some(NotifyUrl::parse("https://a.example").unwrap()),
                    ..content()
                },
            ),
        ];
        for (field, other) in variants {
            assert_eq!(base.differing_fields(&other), [field]);
            assert_ne!(base.mark(), other.mark(), "{field}");
        }
    }

    /// A mark is at Douyin for as long as its settle is, so a changed encoding needs `sg2:`.
    #[test]
    fn the_mark_never_changes_between_releases() {
        assert_eq!(content().mark(), "sg1:1b67e4d629b6c7edb0a117088ea8c188");
    }
}
