//! Makes one payment and follows it to its end.
//!
//! `example-pay ADDRESS OUT_ORDER_NO OUT_SETTLE_NO`: `GATEWAY_TOKEN` is the caller's token,
//! `GATEWAY_CA` the file of the authorities (without it: no TLS).

use std::error::Error;
use std::time::Duration;
use std::{env, fs};

use prost::Message as _;
use tonic::metadata::AsciiMetadataValue;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status};

use v1::settlement_service_client::SettlementServiceClient;
use v1::watch_settle_request::Key;
use v1::watch_settle_response::Event;
use v1::{CreateSettleRequest, Outcome, Retry, Settle, SettleParam, SettlementFailure};

mod v1 {
    #![expect(clippy::all, reason = "generated code follows its generator's style")]
    tonic::include_proto!("douyin.settlement.v1");
}

type Gateway = SettlementServiceClient<InterceptedService<Channel, Authorize>>;

/// What an error says. One without details is made by a proxy or a library: nothing is known.
fn failure(error: &Status) -> SettlementFailure {
    let details = tonic_types::pb::Status::decode(error.details()).unwrap_or_default().details;
    let name = "/douyin.settlement.v1.SettlementFailure";
    let told = details.iter().find(|detail| detail.type_url.ends_with(name));
    let told = told.and_then(|detail| SettlementFailure::decode(&detail.value[..]).ok());
    told.unwrap_or_else(|| SettlementFailure {
        outcome: Outcome::Unknown.into(),
        retry: Retry::Now.into(),
        retry_delay: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
        ..Default::default()
    })
}

async fn pause(told: &SettlementFailure) {
    let delay = told.retry_delay.and_then(|delay| delay.try_into().ok());
    tokio::time::sleep(delay.unwrap_or(Duration::from_secs(5))).await;
}

/// The deadline of each create.
fn create_seconds() -> u64 {
    env::var("CREATE_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(25)
}

fn timed<T>(message: T, seconds: u64) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(Duration::from_secs(seconds));
    request
}

/// The settle in its final state. Every repeat has the same number, which is stored already.
async fn pay(gateway: &mut Gateway, request: CreateSettleRequest) -> Result<Settle, String> {
    loop {
        let told = match gateway.create_settle(timed(request.clone(), create_seconds())).await {
            Ok(created) => return follow(gateway, created.into_inner().settle).await,
            Err(error) => failure(&error),
        };
        if told.outcome() == Outcome::Refused {
            return Err(format!("REFUSED {}: another number may be taken", told.reason));
        }
        if told.outcome() == Outcome::NotSent && told.retry() != Retry::Now {
            let advice = "something must change, the number stays";
            return Err(format!("NOT_SENT {}: {advice}", told.reason));
        }
        pause(&told).await;
    }
}

/// Opens the stream again as often as it breaks. OK ends it, after the final state.
async fn follow(gateway: &mut Gateway, settle: Option<Settle>) -> Result<Settle, String> {
    let mut settle = settle.ok_or("an answer without a settle")?;
    let mut request = v1::WatchSettleRequest {
        app_id: settle.app_id.clone(),
        key: Some(Key::OutSettleNo(settle.out_settle_no.clone())),
        after_revision: settle.revision,
        ..Default::default()
    };
    loop {
        let told = match watch(gateway, &request, &mut settle).await {
            Ok(()) => return Ok(settle),
            Err(error) => failure(&error),
        };
        request.after_revision = settle.revision;
        if told.reason == "REVISION_FROM_FUTURE" {
            // The gateway was restored from a backup.
            request.after_revision = 0;
        } else if told.retry() != Retry::Now {
            return Err(format!("UNKNOWN {}", told.reason));
        }
        pause(&told).await;
    }
}

/// Reads one stream to its end, and keeps its last settle.
async fn watch(
    gateway: &mut Gateway,
    request: &v1::WatchSettleRequest,
    settle: &mut Settle,
) -> Result<(), Status> {
    let mut stream = gateway.watch_settle(timed(request.clone(), 300)).await?.into_inner();
    while let Some(message) = stream.message().await? {
        if let Some(Event::Settle(newer)) = message.event {
            *settle = newer;
        }
    }
    Ok(())
}

/// Puts the token into each call.
#[derive(Clone)]
struct Authorize(AsciiMetadataValue);

impl tonic::service::Interceptor for Authorize {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [address, out_order_no, out_settle_no] = &arguments[..] else {
        return Err("usage: example-pay ADDRESS OUT_ORDER_NO OUT_SETTLE_NO".into());
    };
    let endpoint = match env::var("GATEWAY_CA") {
        Ok(authorities) => {
            let authorities = Certificate::from_pem(fs::read(authorities)?);
            let tls = ClientTlsConfig::new().ca_certificate(authorities);
            Endpoint::from_shared(format!("https://{address}"))?.tls_config(tls)?
        }
        Err(_) => Endpoint::from_shared(format!("http://{address}"))?,
    };
    let token = env::var("GATEWAY_TOKEN").unwrap_or_default();
    let authorize = Authorize(format!("Bearer {token}").parse()?);
    let mut gateway = SettlementServiceClient::with_interceptor(endpoint.connect_lazy(), authorize);
    let request = CreateSettleRequest {
        out_order_no: out_order_no.clone(),
        out_settle_no: out_settle_no.clone(),
        settle_desc: "store share".to_owned(),
        settle_params: vec![SettleParam {
            merchant_uid: "7278924576854329635".to_owned(),
            amount_fen: 120,
        }],
        ..Default::default()
    };
    let settle = pay(&mut gateway, request).await?;
    let amount = settle.result.as_ref().and_then(|result| result.settle_amount_fen);
    println!("{} {}", settle.state().as_str_name(), amount.unwrap_or_default());
    Ok(())
}
