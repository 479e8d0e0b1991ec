//! How watches and waits end.

use std::time::Duration;

use bytes::Bytes;
use settlement_gateway::grpc::rpc::Rpc;
use settlement_gateway::proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{Edge, Provoked, asking, ended, reading, wait_request};
use crate::harness::{create_on, create_request, watch_request, within};
use crate::raw::{Call, Raw, Wire, frame};
use crate::trailers::told_raw;

const WATCHES: &[Rpc] = &[Rpc::WatchSettle, Rpc::WaitSettle];

/// News of a settle after a revision.
fn news(rpc: Rpc, number: &str, after_revision: i64) -> Call {
    if rpc == Rpc::WaitSettle {
        return Call::of(rpc, &wait_request(number, after_revision));
    }
    Call::of(rpc, &watch_request(number, after_revision))
}

pub async fn revision_from_future() -> Provoked {
    // Without news the revision stays what it is.
    let edge = Edge::spawn(|config| config.gateway.schedule.first = Duration::from_secs(600)).await;
    edge.gateway.create(create_on("held", "sim-hold-1")).await.unwrap();
    let provoked = edge.each(WATCHES, |rpc| news(rpc, "held", 99)).await;
    for (_, told) in &provoked {
        assert_eq!(told.fields(), ["after_revision"]);
    }
    provoked
}

pub async fn settle_not_found() -> Provoked {
    let edge = Edge::spawn(|_| {}).await;
    let rpcs = [
        Rpc::WatchSettle,
        Rpc::WaitSettle,
        Rpc::GetSettle,
        Rpc::ShowSettle,
        Rpc::ResolveContradiction,
        Rpc::StopSending,
        Rpc::EndSettle,
    ];
    edge.each(&rpcs, |rpc| reading(rpc, "nowhere")).await
}

pub async fn stream_rotated() -> Provoked {
    let edge = Edge::spawn(|config| {
        config.gateway.watch_age_max = Duration::from_millis(200);
        config.grpc.unary_limit = Duration::from_millis(600);
    })
    .await;
    let settle = edge.gateway.create(create_on("held", "sim-hold-1")).await.unwrap();
    // A wait is one answer and has no age: it says nothing before its time.
    let raw = edge.wire.call(news(Rpc::WaitSettle, "held", settle.revision)).await.unwrap();
    assert_eq!(raw.end["grpc-status"], "0", "{raw:?}");
    let told = edge.told(Rpc::WatchSettle, asking(Rpc::WatchSettle, "held")).await;
    let delay = told.1.retry_after.unwrap();
    assert!(delay >= Duration::from_secs(1) && delay < Duration::from_secs(5), "{delay:?}");
    vec![told]
}

pub async fn watch_limit_reached() -> Provoked {
    let edge = Edge::spawn(|config| config.grpc.watches_max = 1).await;
    edge.gateway.create(create_on("held", "sim-hold-1")).await.unwrap();
    let _first = edge.gateway.watch(watch_request("held", 0)).await.unwrap();
    edge.each(WATCHES, |rpc| news(rpc, "held", 0)).await
}

pub async fn slow_consumer() -> Provoked {
    let edge = Edge::spawn(|config| {
        config.grpc.slow_consumer = Duration::from_millis(200);
        config.grpc.watches_max = 1;
    })
    .await;
    edge.gateway.create(create_on("held", "sim-hold-1")).await.unwrap();
    // Nothing flows until it reads, and the heartbeats wait.
    let reluctant = Wire::connect_reluctantly(&edge.gateway.url).await;
    let heartbeat_interval = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    let call = v1::WatchSettleRequest { heartbeat_interval, ..watch_request("held", 0) };
    let call = Call::of(Rpc::WatchSettle, &call);
    let (http, headers, body) = reluctant.open(call).await.unwrap();
    // Its place is free again once the gateway has given it up.
    let given_up = async {
        while edge.gateway.watch(watch_request("held", 0)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within("the gateway to give it up", given_up).await;
    let raw = within("the rest", Raw::read(http, headers, body)).await.unwrap();
    vec![(Rpc::WatchSettle, told_raw(&raw, Some(Rpc::WatchSettle)))]
}

/// A create that comes to its code while the gateway stops: its head was there before.
pub async fn server_draining() -> Provoked {
    // Without news the wait lasts.
    let mut edge =
        Edge::spawn(|config| config.gateway.schedule.first = Duration::from_secs(600)).await;
    let settle = edge.gateway.create(create_on("held", "sim-hold-1")).await.unwrap();
    let waiting = edge.begin(news(Rpc::WaitSettle, "held", settle.revision));
    let watching = edge.wire.open(news(Rpc::WatchSettle, "held", 0)).await.unwrap();
    let (parts, body) = mpsc::channel(2);
    let message = frame(0, &prost::Message::encode_to_vec(&create_request("late")));
    let (begin, rest) = message.split_at(7);
    parts.send(Ok(http_body::Frame::data(Bytes::copy_from_slice(begin)))).await.unwrap();
    let creating = Call::of(Rpc::CreateSettle, &create_request("late"));
    let creating = edge.begin(creating.streaming(ReceiverStream::new(body)));
    let (stopped, provoked) = tokio::join!(edge.gateway.stop(), async {
        let (http, headers, body) = watching;
        let raw = within("the end of the watch", Raw::read(http, headers, body)).await.unwrap();
        let watched = (Rpc::WatchSettle, told_raw(&raw, Some(Rpc::WatchSettle)));
        parts.send(Ok(http_body::Frame::data(Bytes::copy_from_slice(rest)))).await.unwrap();
        drop(parts);
        let created = ended(creating, Rpc::CreateSettle).await;
        vec![created, watched, ended(waiting, Rpc::WaitSettle).await]
    });
    assert_eq!(stopped, settlement_gateway::server::Stopped::Gracefully);
    assert_eq!(edge.gateway.sim.books().sends("late"), 0);
    provoked
}
