//! The header `x-forwarded-client-cert`, by which a sidecar tells whose certificate it has verified
//! (Envoy's documentation, "HTTP header manipulation").
//!
//! Each proxy on the way adds an element, so only the last one is the sidecar's own word. What
//! comes before may be a stranger's, made so that it swallows what follows: nothing that is not
//! whole is believed.
//!
//! What it must not know: from whom the header is believed, and which caller has a name.

use http::HeaderMap;

use crate::callers::{canonical, is_uri};

pub(super) const HEADER: &str = "x-forwarded-client-cert";

/// The header is there and is no list of elements.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Malformed;

/// The URIs and DNS names in the last element; `None` if there is no such header.
pub(super) fn names(headers: &HeaderMap) -> Result<Option<Vec<String>>, Malformed> {
    let mut last = None;
    for value in headers.get_all(HEADER) {
        // Several headers are one list (RFC 9110, 5.3).
        last = Some(last_names(value.to_str().map_err(|_| Malformed)?)?);
    }
    Ok(last)
}

/// The names in the last element of a list.
fn last_names(list: &str) -> Result<Vec<String>, Malformed> {
    let mut names = Vec::new();
    let mut rest = list;
    loop {
        let (key, after) = rest.split_once('=').ok_or(Malformed)?;
        let key = key.trim();
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(Malformed);
        }
        let (value, after) = value(after)?;
        let is_name = [("uri", true), ("dns", false)].into_iter().find_map(|(kind, of_uri)| {
            key.eq_ignore_ascii_case(kind).then(|| value.is_empty() || is_uri(&value) == of_uri)
        });
        match is_name {
            Some(false) => return Err(Malformed),
            // A sidecar that has verified no such name may say so by an empty value.
            Some(true) if !value.is_empty() => names.push(canonical(&value).into_owned()),
            Some(true) | None => {}
        }
        let mut signs = after.chars();
        match signs.next() {
            None => break,
            Some(';') => {}
            Some(',') => names.clear(),
            Some(_) => return Err(Malformed),
        }
        rest = signs.as_str();
    }
    Ok(names)
}

/// The value at the beginning of a text, and what follows it.
fn value(text: &str) -> Result<(String, &str), Malformed> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ';']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        // Such a value would be in quotes.
        return match value.contains(['"', '\\', '=']) {
            true => Err(Malformed),
            false => Ok((value.trim().to_owned(), rest)),
        };
    };
    let (mut value, mut signs) = (String::new(), quoted.chars());
    loop {
        match signs.next().ok_or(Malformed)? {
            '"' => return Ok((value, signs.as_str())),
            '\\' => value.push(signs.next().ok_or(Malformed)?),
            sign => value.push(sign),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> Result<Option<Vec<String>>, Malformed> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        names(&headers)
    }

    #[test]
    fn the_names_of_the_last_element_count_and_no_others() {
        let hash = "468ed33be74eee6556d90c0149c1309e9ba61d6425303443c0748a02dd8de688";
        let shop = "URI=spiffe://corp/ns/pay/sa/shop";
        let envoy = format!(
            "By=spiffe://corp/gw;Hash={hash};Subject=\"CN=a,O=\\\"b;c\\\"\";{shop};DNS=Shop.corp"
        );
        for (values, names) in [
            (vec![shop.to_owned()], vec!["spiffe://corp/ns/pay/sa/shop"]),
            (vec![envoy.clone()], vec!["spiffe://corp/ns/pay/sa/shop", "shop.corp"]),
            (
                vec![format!("URI=spiffe://corp/admin,{envoy}")],
                vec!["spiffe://corp/ns/pay/sa/shop", "shop.corp"],
            ),
            (
                vec![envoy.clone(), "Hash=00; uri = spiffe://corp/last ".into()],
                vec!["spiffe://corp/last"],
            ),
            (
                vec!["URI=spiffe://a/1;URI=spiffe://a/2;uri=\"spiffe://a/3,4;5=\"".into()],
                vec!["spiffe://a/1", "spiffe://a/2", "spiffe://a/3,4;5="],
            ),
            (vec![format!("{shop},Hash={hash}")], vec![]),
            (vec![format!("{shop},By=spiffe://corp/gateway;Hash={hash};URI=")], vec![]),
        ] {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            let names = names.into_iter().map(str::to_owned).collect();
            assert_eq!(read(&values), Ok(Some(names)), "{values:?}");
        }
        assert_eq!(read(&[]), Ok(None));
    }

    #[test]
    fn what_is_not_whole_is_not_believed() {
        for value in [
            "",
            ",",
            "spiffe://corp/shop",
            "URI",
            "=x",
            "U RI=spiffe://a/b",
            "URI=spiffe://a/b;",
            "URI=spiffe://a/b,",
            ";URI=spiffe://a/b",
            "URI=\"spiffe://a/b",
            "URI=\"spiffe://a/b\\",
            "URI=\"spiffe://a/b\"x",
            "URI=spiffe://a/\"b\"",
            "URI=spiffe://a/b=c",
            "URI=shop.corp",
            "DNS=spiffe://corp/shop",
            "URI=spiffe://\u{e9}",
        ] {
            assert_eq!(read(&[value]), Err(Malformed), "{value}");
            assert_eq!(read(&[value, "URI=spiffe://corp/shop"]), Err(Malformed), "{value}");
        }
    }

    /// A stranger sends an element that is to swallow the one that the sidecar adds behind it.
    #[test]
    fn an_element_that_is_open_swallows_none() {
        let added = "By=spiffe://corp/gateway;Hash=00;Subject=\"CN=x\";URI=spiffe://corp/stranger";
        let admin = "URI=spiffe://corp/admin";
        let stranger = Ok(Some(vec!["spiffe://corp/stranger".to_owned()]));
        for sent in [
            format!("{admin};Subject=\""),
            format!("{admin};Subject=\"\\"),
            format!("{admin};Subject=\"a\\\""),
            format!("{admin};Subject"),
            format!("{admin};Subject="),
            format!("{admin};Subject=\"a\""),
            admin.to_owned(),
        ] {
            let read = read(&[&format!("{sent},{added}")]);
            assert!(read == Err(Malformed) || read == stranger, "{sent}: {read:?}");
        }
    }
}
