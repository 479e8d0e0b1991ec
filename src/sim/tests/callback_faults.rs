//! What goes wrong with callbacks, as a receiver over HTTP meets it.

use std::time::Duration;

use super::callbacks::{create, start, until_acknowledged, until_tried};
use super::receiver::Receiver;
use super::wire::Client;
use crate::sim::CallbackScript;

/// A settle that has ended, whose callback meets these one after the other.
async fn scripted(scripts: Vec<CallbackScript>) -> (Client, Receiver) {
    let (client, receiver) = start().await;
    client.sim.script_callback("s1", scripts);
    create(&client, "s1", "o1").await;
    client.sim.advance(Duration::from_secs(2));
    (client, receiver)
}

#[tokio::test]
async fn a_cut_callback_promises_more_than_it_brings() {
    let (client, receiver) = scripted(vec![CallbackScript::Cut]).await;
    until_tried(&client, "s1", 1).await;
    client.sim.advance(Duration::from_secs(12));
    until_acknowledged(&client, "s1").await;
    let got = receiver.wait_for(2).await;
    assert_eq!((got[0].whole, got[1].whole), (false, true));
    assert_eq!(got[0].body, got[1].body[..got[1].body.len() / 2]);
    client.sim.stop().await;
}
