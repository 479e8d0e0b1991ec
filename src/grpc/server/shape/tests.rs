//! No error leaves without details, whatever the services inside do.

use bytes::Bytes;
use http_body_util::Full;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use tower::ServiceExt as _;
use tower::service_fn;

use super::super::super::audit::Audit;
use super::super::super::reasons::Outcome;
use super::super::super::rpc::Rpc;
use super::super::bounds::Bound;
use super::*;
use crate::callers::{Callers, Known};

/// What the layer makes of a call to a service like this.
async fn answer<F>(
    path: &str,
    handler: impl FnMut(Request<Body>) -> F + Clone + Send + 'static,
) -> Status
where
    F: Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
{
    let bound = Bound { process_max: 1_000_000, connection_max: 1_000_000, share: 0 };
    let process = Arc::new(Process::new([bound; 4]));
    let callers = Callers::new(Known::default());
    let admission = Admission { callers, audit: Audit::default() };
    let calls = Arc::new(Semaphore::new(8));
    let shape = Shape::new(calls, process, Duration::from_secs(20), admission);
    let shaped = shape.layer(service_fn(handler));
    let request = Request::post(path).header("content-type", "application/grpc");
    let request = request.body(Body::new(Full::new(Bytes::from_static(&[0; 5])))).unwrap();
    let response = shaped.oneshot(request).await.unwrap();
    Status::from_header_map(response.headers()).expect("an answer without a body")
}

const CREATE: &str = "/douyin.settlement.v1.SettlementService/CreateSettle";

/// The reason of an error, and the outcome that it promises.
fn told(status: &Status) -> (Reason, Option<Outcome>) {
    let info = status.get_details_error_info().expect("each error has one");
    let outcomes = [Outcome::NotSent, Outcome::Refused, Outcome::Unknown];
    let outcome = info.metadata.get("outcome").map(|word| {
        outcomes.into_iter().find(|it| it.as_str() == word).expect("there is no other outcome")
    });
    (Reason::parse(&info.reason).expect("it is in a table"), outcome)
}

/// The row of INTERNAL_ERROR, each RPC and each outcome of it.
#[tokio::test]
async fn a_panic_is_an_error_like_any_other() {
    for rpc in Rpc::ALL {
        let path = format!("/{}", rpc.method());
        let outcome = |outcome| (*rpc == Rpc::CreateSettle).then_some(outcome);
        let before = answer(&path, async |_| panic!("a bug before the code of the RPC")).await;
        assert_eq!(before.code(), Code::Internal);
        assert_eq!(told(&before), (Reason::InternalError, outcome(Outcome::NotSent)));
        let after = answer(&path, async |request| {
            Entered::mark(&tonic::Request::from_parts(
                tonic::metadata::MetadataMap::new(),
                request.into_parts().0.extensions,
                (),
            ));
            panic!("a bug in the code of the RPC")
        });
        let after = after.await;
        assert_eq!(after.code(), Code::Internal);
        assert_eq!(told(&after), (Reason::InternalError, outcome(Outcome::Unknown)));
    }
}

/// Whatever code a service answers without details, it leaves with some.
#[tokio::test]
async fn no_code_leaves_without_details() {
    for number in 1..=16 {
        for path in [CREATE, "/another.Service/Call"] {
            let status = answer(path, move |_| async move {
                let mut response = Response::new(Body::empty());
                response.headers_mut().insert(Status::GRPC_STATUS, number.into());
                Ok(response)
            });
            let status = status.await;
            assert!(!status.details().is_empty(), "{number} {path}");
            assert_ne!(status.code(), Code::Ok);
        }
    }
}

#[tokio::test]
async fn what_is_right_stays_as_it_is() {
    for code in [Code::Ok, Code::NotFound] {
        let status = answer(CREATE, move |_| async move {
            let mut response = Response::new(Body::empty());
            let headers = response.headers_mut();
            headers.insert(Status::GRPC_STATUS, i32::from(code).into());
            headers.insert(Status::GRPC_STATUS_DETAILS, "c29tZXRoaW5n".parse().unwrap());
            Ok(response)
        });
        let status = status.await;
        assert_eq!((status.code(), status.details()), (code, &b"something"[..]));
    }
}
