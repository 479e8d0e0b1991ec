//! The bare translator: tonic in front, reqwest behind, the gateway's contract, and no storage. Its
//! cost is that of the gateway's libraries alone.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use serde::{Deserialize, Serialize};
use settlement_gateway::proto::v1::settlement_service_server::{
    SettlementService, SettlementServiceServer,
};
use settlement_gateway::proto::v1::{
    CreateSettleRequest, CreateSettleResponse, GetSettleRequest, GetSettleResponse,
    GetUnsettledAmountRequest, GetUnsettledAmountResponse, ListSettlesRequest, ListSettlesResponse,
    QuerySettlesRequest, QuerySettlesResponse, Settle, SettleState, WaitSettleRequest,
    WaitSettleResponse, WatchSettleRequest, WatchSettleResponse,
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use crate::Failure;
use crate::upstream::CREATE_PATH;

struct Bare {
    client: reqwest::Client,
    url: String,
}

#[derive(Serialize)]
struct CreateBody<'a> {
    app_id: &'a str,
    out_order_no: &'a str,
    out_settle_no: &'a str,
    settle_desc: &'a str,
    settle_params: String,
}

#[derive(Serialize)]
struct Receiver<'a> {
    merchant_uid: &'a str,
    amount: i64,
}

#[derive(Deserialize)]
struct Answer {
    err_no: i64,
    err_msg: String,
    data: Option<Accepted>,
}

#[derive(Deserialize)]
struct Accepted {
    settle_id: String,
    wallet_settle_id: Option<String>,
}

/// The HTTP client of the translator. The load uses it too, to call the upstream directly.
pub fn http_client(connections: usize) -> Result<reqwest::Client, Failure> {
    let client = reqwest::Client::builder()
        .pool_max_idle_per_host(connections)
        .timeout(Duration::from_secs(5))
        .retry(reqwest::retry::never())
        .build()?;
    Ok(client)
}

/// A body as Douyin takes it.
pub fn body_of(settle: &CreateSettleRequest) -> Result<Vec<u8>, serde_json::Error> {
    let receivers: Vec<_> = settle
        .settle_params
        .iter()
        .map(|param| Receiver { merchant_uid: &param.merchant_uid, amount: param.amount_fen })
        .collect();
    serde_json::to_vec(&CreateBody {
        app_id: &settle.app_id,
        out_order_no: &settle.out_order_no,
        out_settle_no: &settle.out_settle_no,
        settle_desc: &settle.settle_desc,
        settle_params: serde_json::to_string(&receivers)?,
    })
}

/// Serves until its process ends; prints its address as the gateway does.
pub fn serve(upstream: &str) -> Result<(), Failure> {
    let bare = Bare { client: http_client(1024)?, url: format!("{upstream}{CREATE_PATH}") };
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("gRPC {}", listener.local_addr()?);
        tonic::transport::Server::builder()
            .tcp_nodelay(true)
            .add_service(SettlementServiceServer::new(bare))
            .serve_with_incoming(TcpListenerStream::new(listener))
            .await?;
        Ok(())
    })
}

impl Bare {
    async fn create(&self, settle: &CreateSettleRequest) -> Result<Accepted, Failure> {
        let request = self
            .client
            .post(&self.url)
            .header("access-token", HeaderValue::from_static("clt.bench"))
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(body_of(settle)?);
        let response = request.send().await?.error_for_status()?;
        let answer: Answer = serde_json::from_slice(&response.bytes().await?)?;
        match (answer.err_no, answer.data) {
            (0, Some(accepted)) => Ok(accepted),
            (err_no, _) => Err(format!("{err_no}: {}", answer.err_msg).into()),
        }
    }
}

type Unserved<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl SettlementService for Bare {
    async fn create_settle(
        &self,
        request: Request<CreateSettleRequest>,
    ) -> Result<Response<CreateSettleResponse>, Status> {
        let request = request.into_inner();
        let accepted = self.create(&request).await;
        let accepted = accepted.map_err(|problem| Status::unavailable(problem.to_string()))?;
        let settle = Settle {
            app_id: request.app_id,
            out_settle_no: request.out_settle_no,
            out_order_no: Some(request.out_order_no),
            settle_desc: Some(request.settle_desc),
            settle_params: request.settle_params,
            state: SettleState::Processing.into(),
            settle_id: Some(accepted.settle_id),
            wallet_settle_id: accepted.wallet_settle_id,
            ..Settle::default()
        };
        Ok(Response::new(CreateSettleResponse { settle: Some(settle), replayed: false }))
    }

    type WatchSettleStream = tokio_stream::Empty<Result<WatchSettleResponse, Status>>;

    async fn watch_settle(
        &self,
        _: Request<WatchSettleRequest>,
    ) -> Unserved<Self::WatchSettleStream> {
        Err(Status::unimplemented(""))
    }

    async fn wait_settle(&self, _: Request<WaitSettleRequest>) -> Unserved<WaitSettleResponse> {
        Err(Status::unimplemented(""))
    }

    async fn get_settle(&self, _: Request<GetSettleRequest>) -> Unserved<GetSettleResponse> {
        Err(Status::unimplemented(""))
    }

    async fn query_settles(
        &self,
        _: Request<QuerySettlesRequest>,
    ) -> Unserved<QuerySettlesResponse> {
        Err(Status::unimplemented(""))
    }

    async fn list_settles(&self, _: Request<ListSettlesRequest>) -> Unserved<ListSettlesResponse> {
        Err(Status::unimplemented(""))
    }

    async fn get_unsettled_amount(
        &self,
        _: Request<GetUnsettledAmountRequest>,
    ) -> Unserved<GetUnsettledAmountResponse> {
        Err(Status::unimplemented(""))
    }
}
