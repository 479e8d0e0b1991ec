//! The control page as a browser gets it.

use std::time::Duration;

use super::wire::{Client, read_bytes};
use super::{CREATE, SECRET, good_create};
use crate::{OrderSetup, Script};

async fn page(client: &Client) -> String {
    let response = client.http.get(client.sim.control_url()).send().await.expect("an answer");
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    let policy = response.headers()["content-security-policy"].to_str().expect("a text");
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    String::from_utf8(read_bytes(response).await).expect("UTF-8")
}

#[tokio::test]
async fn the_page_shows_what_is_there() {
    let client = Client::start().await;
    client.create_err_no().await;
    client.sim.always_query(Some(Script::apply_then(Script::Drop)));
    client.sim.set_order("ttother", "o9", OrderSetup::default());
    client.sim.advance(Duration::from_secs(2));
    let html = page(&client).await;
    let settle = client.sim.books().settles[0].clone();
    for part in [
        "Seed 7.",
        "2000 ms ahead of real time",
        "<td>s1</td>",
        &format!("<td>{}</td>", settle.settle_id),
        "<td>100000</td><td>SUCCESS</td><td>create</td>",
        "<td>ttother</td><td>o9</td><td>fulfilled</td>",
        "<td>accepted</td>",
        "<td>23112 no money to settle</td>",
        "<td>fulfilled D+0</td><td>no</td><td>yes</td><td>1</td><td>0</td><td>1</td>",
        "value=\"apply-then drop\"",
        "<option selected>before-rules</option>",
    ] {
        assert!(html.contains(part), "{part}: {html}");
    }
    assert!(!html.contains(SECRET) && !html.contains("clt.") && !html.contains("<script"));
    assert!(!html.contains("SUCCESS</button>"), "what has ended cannot be ended");
    client.sim.stop().await;
}

#[tokio::test]
async fn nothing_in_the_books_becomes_markup() {
    let client = Client::start().await;
    let nasty = r#"<script>"'&</script>"#;
    client.post(CREATE, &good_create(nasty, "sim-hold-<b>")).await.expect("an answer");
    client.sim.always_create(Some(Script::json(200, r#""><b>"#)));
    client.sim.set_order("<i>", "<u>", OrderSetup::default());
    let html = page(&client).await;
    assert!(html.contains("<td>&lt;script&gt;&quot;&#39;&amp;&lt;/script&gt;</td>"), "{html}");
    assert!(html.contains("value=\"answer 200 &quot;&gt;&lt;b&gt;\""), "{html}");
    for part in ["<script", "<b>", "<i>", "<u>"] {
        assert!(!html.contains(part), "{part}: {html}");
    }
    client.sim.stop().await;
}

#[tokio::test]
async fn the_page_has_fifty_rows_of_each_at_most() {
    let client = Client::start().await;
    for n in 0..60 {
        client
            .post(CREATE, &good_create(&format!("s{n}."), &format!("sim-hold-{n}.")))
            .await
            .expect("an answer");
    }
    let html = page(&client).await;
    assert_eq!(html.matches("50 of 60, newest first.").count(), 2);
    assert_eq!(html.matches("FAIL</button>").count(), 50);
    assert!(html.contains("<td>s59.</td>") && !html.contains("<td>s9.</td>"));
    client.sim.stop().await;
}

#[tokio::test]
async fn a_browser_is_sent_back_to_the_page_after_a_form() {
    let client = Client::start().await;
    let url = format!("{}/sim/clock", client.sim.url());
    let request = client.http.post(url).header("accept", "text/html,*/*;q=0.8");
    let response = request.body("advance_days=1&advance_ms=").send().await.expect("an answer");
    assert_eq!((response.status().as_u16(), response.url().path()), (200, "/sim/"));
    let html = String::from_utf8(read_bytes(response).await).expect("UTF-8");
    assert!(html.contains("86400000 ms ahead of real time"), "{html}");
    client.sim.stop().await;
}

/// Sends each form of the page as a browser would that changes nothing in it.
#[tokio::test]
async fn every_form_of_the_page_is_understood() {
    let client = Client::start().await;
    client.post(CREATE, &good_create("s1", "sim-hold-1")).await.expect("an answer");
    let html = page(&client).await;
    let mut understood = 0;
    for form in html.split("<form method=\"post\" action=\"").skip(1) {
        let (action, form) = form.split_once('"').expect("an action");
        let form = form.split("</form>").next().expect("an end");
        // A button counts only if it is pressed, and one of two with the same name can be.
        let form = form.split_once("</button>").map_or(form, |(first, _)| first);
        let names = form.split(" name=\"").skip(1);
        let fields: Vec<String> = names
            .map(|rest| {
                let name = rest.split('"').next().expect("a name");
                let chosen = rest.split("<option selected>").nth(1);
                let value = rest.split("value=\"").nth(1).and_then(|value| value.split('"').next());
                let chosen = chosen.and_then(|chosen| chosen.split('<').next());
                format!("{name}={}", chosen.or(value).unwrap_or_default())
            })
            .collect();
        let request = client.http.post(format!("{}{action}", client.sim.url()));
        let response = request.body(fields.join("&")).send().await.expect("an answer");
        let status = response.status().as_u16();
        let text = String::from_utf8(read_bytes(response).await).expect("UTF-8");
        // Forms that need something are understood too when they say what.
        assert!(status == 200 || text.contains(" is needed"), "{action} {fields:?}: {text}");
        understood += usize::from(status == 200);
    }
    assert!(understood >= 4, "{understood}");
    client.sim.stop().await;
}
