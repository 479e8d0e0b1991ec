//! Signatures that others made, and the one of §7.1.

use http::{HeaderMap, Method};
use serde_json::{Value, json};

use crate::AppKey;
use crate::signed::{SignedRequest, md5_sign, request_text, sha1_sign};

#[test]
fn md5_signs_as_in_the_published_tests() {
    // github.com/bytedance/open-pay-signature-go-demo, utils/sign_test.go.
    let official = json!({
        "app_id": "ttcfdbb9xxxxxxxxxxx",
        "thirdparty_id": "tta4bad200000xxxxxx",
        "out_order_no": "test-02167569xxxxxx",
        "total_amount": 2_376,
        "subject": "test-payment_subject-test-paym...",
        "body": "强烈推荐！经典腊汁肉夹馍团购价仅需7.92元！",
        "valid_time": 172_800,
        "notify_url": "https://www.xxx.com",
        "disable_msg": 0,
        "msg_page": "pages/user/orderDetail/orderDetail?id=997979879879879879",
        "sign": "edc608b160a1be3de0xxxxxx",
    });
    // github.com/houseme/bytedance, utility/helper/sign_test.go.
    let short =
        json!({ "app_id": "appid12345", "out_trade_no": "out_trade_no", "total_amount": 100 });
    let with_zero = json!({
        "app_id": "tta2e4d4593dd752cc01",
        "out_order_no": "509428213924556800",
        "total_amount": 5_990,
        "subject": "充值 59.9 元",
        "body": "充值 59.9 元",
        "valid_time": 7_200,
        "cp_extra": "20231106180550.952",
        "disable_msg": 0,
    });
    for (body, salt, sign) in [
        (&official, "your_payment_salt", "54f102e7115f8a6a3e6af4633dc33959"),
        (&short, "test", "2001ff1c8ffa0f6b4bfb592133a84294"),
        (&with_zero, "n5NZ1sQb8euPHV7BsPxARQ", "ac65148dbe5fe6ca969a76aaa66f1c2e"),
    ] {
        assert_eq!(md5_sign(body, salt), sign);
    }
}

#[test]
fn what_is_not_signed_changes_nothing() {
    let sign = |body: &Value| md5_sign(body, "salt");
    let plain = json!({ "a": "1", "b": 2 });
    for same in [
        json!({ "a": " 1 ", "b": 2, "c": "", "d": null, "e": "null" }),
        json!({ "a": "\"1\"", "b": 2 }),
        json!({ "a": "1", "b": 2, "sign": "x", "app_id": "x", "thirdparty_id": "x" }),
        json!({ "a": "1", "b": 2, "other_settle_params": "x" }),
    ] {
        assert_eq!(sign(&same), sign(&plain), "{same}");
    }
    assert_ne!(sign(&json!({ "a": "1", "b": 2, "c": 0 })), sign(&plain));
}

#[test]
fn sha1_signs_as_in_the_published_tests() {
    let official = sha1_sign(&["1652675265", "9999", "80850852"], "fdsifakhflasjfxxxxxxxxx");
    assert_eq!(official, "c9df04a40645c4ec15c13bc542cea589eac57e64");
    let msg = concat!(
        r#"{"appid":"tta2e4d4593dd752cc01","cp_orderno":"509674359901237248","#,
        r#""cp_extra":"20231107102356.988","way":"2","#,
        r#""channel_no":"2023110722001478031451493029","channel_gateway_no":"","#,
        r#""payment_order_no":"DPS2311071023579038593541272896","#,
        r#""out_channel_order_no":"2023110722001478031451493029","total_amount":1,"#,
        r#""status":"SUCCESS","seller_uid":"72886065940053875560","extra":"","item_id":"","#,
        r#""paid_at":1699323852,"message":"","order_id":"N7298540284277819658","#,
        r#""ec_pay_trade_no":"DTPP2311071023579038592558232896"}"#,
    );
    let captured = sha1_sign(&["1699323852", "5069", msg], "XTaSqbuSx5Mxxxxx");
    assert_eq!(captured, "8af88d7063a638da5d20d0996e9efc6f899929a3");
}

/// Made once with a key that was thrown away, and checked with OpenSSL.
#[test]
fn a_signed_request_verifies_with_the_public_key_only() {
    const KEY: &str = "\
        MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEArIxiJ0+Xts/nYBkx68bGAZd5FVa0ZqB3m+ok\
        jffCQuOm4vPGp6p5U9chMYCewJDu0kOR9bqTPIfaBCso4w9M1I0LkFXxUe995R45higFRRCge1/Xv5wm\
        IbJHTBXjsvT/mJN19STLbXE87Vx9+GZU1rVLQNRvLcguACCW52jV3gXKLWKVHPTRQ2MJxxNmwaVyZbsG\
        byrgvfBh8fNQyuIEsRF8ZPoS9TWV7+M/Pq+8uEPofqtJ5wuMvTe/y96oc8pEh5qZkzfcwFlrKtUWY5YI\
        SySBKlHWk/kYLT46q3F80GcfwQTdapa74qrmBxMyPPSQelk3aMZOhzgRF8dtpZP0jwIDAQAB";
    const SIGNATURE: &str = "\
        D9cKcmSWl/dZHsC8Mr6ppCPRnYclH/ThgKOm3OIchaho9v2LPP/c90EtUWUYOPMSyjvA44xLn/HYB08R\
        WYMuIRGPWVchnmk/olgLd9fB4HLDakEbX0NGQgWIt0oEFkyK0a1opbgkJu3Vi6bue82HR4/oXQ//CgUQ\
        QkANmF01V0MeTRyT8i7M8wtFq0mEBA0CGY9MXWQHLY6ZeefD7J0XioiFpk9Wm6peoJyvC9FRe/BA7H6x\
        0X6iskfQw5yhljYuKdaYZ+0ydrd5bt1xRc2HMXdaTUCOWhKL4jhzQxGchvGGzXBc0zB1GM9nOJ4gZ+0r\
        d8F+H9KnAmfEJWkYX1ZcxA==";
    let text = |body: &[u8]| {
        let request = SignedRequest {
            method: &Method::POST,
            uri: "/api/business/diamond/query",
            headers: &HeaderMap::new(),
            body,
        };
        request_text(&request, "1623934869", "DC10180A100073E70A48F195DA2AF2E6")
    };
    let key = AppKey::from_text(KEY).expect("a key");
    let body = br#"{"appid":"ttxxx","order_id":"xxx"}"#;
    assert!(key.verifies(&text(body), SIGNATURE));
    assert!(!key.verifies(&text(b"{}"), SIGNATURE));
    assert!(!AppKey::sandbox().verifies(&text(body), SIGNATURE));
}
