//! The two signatures of guaranteed payment, as Douyin's own demonstration makes them: MD5 with the
//! app's salt in requests, SHA-1 with the console's token in callbacks (6.3).
//!
//! What it must not know: what a request or a callback says.

use bytes::Bytes;
use md5::{Digest as _, Md5};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use subtle::ConstantTimeEq as _;

use crate::douyin::wire::values::Fields;

/// The fields that the signature of a request leaves out.
const UNSIGNED: [&str; 4] = ["sign", "app_id", "thirdparty_id", "other_settle_params"];

/// The body with its signature, and the signature.
pub(in crate::douyin) fn signed(body: &[u8], salt: &SecretString) -> (Bytes, SecretString) {
    let fields: Fields =
        serde_json::from_slice(body).expect("every body of a call is a JSON object");
    let sign = of_request(&fields, salt);
    // Of the very bytes that were recorded only the end changes.
    let open = body.strip_suffix(b"}").expect("it is written without white space around it");
    let signed = [open, b",\"sign\":\"", sign.as_bytes(), b"\"}"].concat();
    (signed.into(), sign.into())
}

/// The values that are not empty, and the salt, sorted by their bytes and joined.
fn of_request(fields: &Fields, salt: &SecretString) -> String {
    let signed = fields.iter().filter(|(name, _)| !UNSIGNED.contains(&name.as_str()));
    let mut values: Vec<String> = signed.filter_map(|(_, value)| value_of(value)).collect();
    values.push(salt.expose_secret().to_owned());
    values.sort_unstable();
    hex::encode(Md5::digest(values.join("&")))
}

/// `None`: it is empty. The demonstration takes the text `null` for a missing value, and takes one
/// pair of quotes off. A zero is a value.
fn value_of(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    };
    let text = text.trim();
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let inner = inner.trim();
    (!inner.is_empty() && inner != "null").then(|| inner.to_owned())
}

/// Whether this is the signature of a callback with these values. Takes the same time for every
/// wrong one.
pub(super) fn is_of_callback(signature: &str, values: &[&str], token: &SecretString) -> bool {
    let mut values: Vec<&str> = values.iter().copied().filter(|text| !text.is_empty()).collect();
    values.push(token.expose_secret());
    values.sort_unstable();
    let true_one = hex::encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, values.concat().as_bytes()));
    true_one.as_bytes().ct_eq(signature.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sign(fields: Value, salt: &str) -> String {
        let Value::Object(fields) = fields else { panic!("no object") };
        of_request(&fields, &salt.to_owned().into())
    }

    /// github.com/bytedance/open-pay-signature-go-demo, `utils/sign_test.go`, and two of
    /// github.com/houseme/bytedance, `utility/helper/sign_test.go`.
    #[test]
    fn a_request_is_signed_as_others_sign_it() {
        let official = json!({
            "app_id": "ttcfdbb9xxxxxxxxxxx", "thirdparty_id": "tta4bad200000xxxxxx",
            "out_order_no": "test-02167569xxxxxx", "total_amount": 2_376,
            "subject": "test-payment_subject-test-paym...",
            "body": "强烈推荐！经典腊汁肉夹馍团购价仅需7.92元！", "valid_time": 172_800,
            "notify_url": "https://www.xxx.com", "disable_msg": 0,
            "msg_page": "pages/user/orderDetail/orderDetail?id=997979879879879879",
            "sign": "edc608b160a1be3de0xxxxxx",
        });
        let short = json!({
            "app_id": "appid12345", "out_trade_no": "out_trade_no", "total_amount": 100,
        });
        let with_zero = json!({
            "app_id": "tta2e4d4593dd752cc01", "out_order_no": "509428213924556800",
            "total_amount": 5_990, "subject": "充值 59.9 元", "body": "充值 59.9 元",
            "valid_time": 7_200, "cp_extra": "20231106180550.952", "disable_msg": 0,
        });
        let cases = [
            (official, "your_payment_salt", "54f102e7115f8a6a3e6af4633dc33959"),
            (short, "test", "2001ff1c8ffa0f6b4bfb592133a84294"),
            (with_zero, "n5NZ1sQb8euPHV7BsPxARQ", "ac65148dbe5fe6ca969a76aaa66f1c2e"),
        ];
        for (fields, salt, expected) in cases {
            assert_eq!(sign(fields, salt), expected);
        }
    }

    #[test]
    fn what_is_empty_or_left_out_changes_nothing_and_a_zero_does() {
        let plain = || json!({ "a": "1", "b": 2 });
        let same = [
            json!({ "a": " 1 ", "b": 2, "c": "", "d": null, "e": "null", "f": "  " }),
            json!({ "a": "\"1\"", "b": 2, "c": "\"\"" }),
            json!({ "a": "1", "b": 2, "sign": "x", "app_id": "x", "thirdparty_id": "x",
                "other_settle_params": "x" }),
        ];
        for fields in same {
            assert_eq!(sign(fields.clone(), "salt"), sign(plain(), "salt"), "{fields}");
        }
        for other in [json!({ "a": "1", "b": 2, "c": 0 }), json!({ "a": "1", "b": 3 })] {
            assert_ne!(sign(other.clone(), "salt"), sign(plain(), "salt"), "{other}");
        }
        assert_ne!(sign(plain(), "salt"), sign(plain(), "pepper"));
    }

    #[test]
    fn the_signature_is_of_the_bytes_that_are_sent() {
        let body = r#"{"app_id":"tt1","out_settle_no":"s-1","settle_desc":"门店 \"分账\"\n"}"#;
        let salt = "salt".to_owned().into();
        let (sent, sign) = signed(body.as_bytes(), &salt);
        let sign = sign.expose_secret();
        let expected = format!("{},\"sign\":\"{sign}\"}}", body.strip_suffix('}').unwrap());
        assert_eq!(sent, expected.as_bytes());
        let fields: Fields = serde_json::from_slice(&sent).unwrap();
        assert_eq!(
            (fields["sign"].as_str(), of_request(&fields, &salt)),
            (Some(sign), sign.into())
        );
        assert_eq!(signed(body.as_bytes(), &salt).0, sent, "a re-send is the same bytes");
    }

    /// The demonstration's, and a captured payment of github.com/houseme/bytedance.
    #[test]
    fn a_callback_is_signed_as_others_sign_it() {
        let captured = concat!(
            r#"{"appid":"tta2e4d4593dd752cc01","cp_orderno":"509674359901237248","#,
            r#""cp_extra":"20231107102356.988","way":"2","#,
            r#""channel_no":"2023110722001478031451493029","channel_gateway_no":"","#,
            r#""payment_order_no":"DPS2311071023579038593541272896","#,
            r#""out_channel_order_no":"2023110722001478031451493029","total_amount":1,"#,
            r#""status":"SUCCESS","seller_uid":"72886065940053875560","extra":"","item_id":"","#,
            r#""paid_at":1699323852,"message":"","order_id":"N7298540284277819658","#,
            r#""ec_pay_trade_no":"DTPP2311071023579038592558232896"}"#,
        );
        let cases = [
            (
                ["1652675265", "9999", "80850852"],
                "fdsifakhflasjfxxxxxxxxx",
                "c9df04a40645c4ec15c13bc542cea589eac57e64",
            ),
            (
                ["1699323852", "5069", captured],
                "XTaSqbuSx5Mxxxxx",
                "8af88d7063a638da5d20d0996e9efc6f899929a3",
            ),
        ];
        for (values, token, signature) in cases {
            let token = token.to_owned().into();
            assert!(is_of_callback(signature, &values, &token));
            let [a, b, c] = values;
            assert!(is_of_callback(signature, &[c, "", a, b], &token), "order means nothing");
            let cut = signature.strip_prefix(|_: char| true).unwrap();
            for wrong in ["", cut, &signature.to_uppercase(), &"0".repeat(40)] {
                assert!(!is_of_callback(wrong, &values, &token), "{wrong}");
            }
            assert!(!is_of_callback(signature, &[a, b], &token));
            assert!(!is_of_callback(signature, &values, &"another".to_owned().into()));
        }
    }
}
