"""Errors with all that an error may carry, and a server that answers creates with them.

The messages are those of the stubs, so this is imported once they are made.
"""

import contextlib
from concurrent import futures

import grpc
from douyin.settlement.v1 import settlement_pb2 as pb
from douyin.settlement.v1 import settlement_pb2_grpc
from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2 as rpc
from google.rpc import status_pb2
from grpc_status import rpc_status

from . import equal, expect

# The gateway's own limit of a status.
DETAILS_BYTES_MAX = 4096
VIOLATIONS = 10_000


def _packed(message):
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def _bad_fields():
    text = "must not be empty " * 5
    names = [f"settle_params[{i}].merchant_uid" for i in range(20)]
    return rpc.BadRequest(field_violations=[{"field": it, "description": text} for it in names])


def every_kind():
    """A status with every kind of detail, the one that counts behind all others, nearly as large
    as the gateway's can be, and with texts that need UTF-8."""
    unknown = any_pb2.Any(type_url="type.googleapis.com/of.a.later.Version", value=b"\xff\x00")
    failure = pb.SettlementFailure(
        outcome=pb.OUTCOME_REFUSED, retry=pb.RETRY_AFTER_CHANGE, reason="EVERY_KIND"
    )
    details = [
        unknown,
        _packed(rpc.ErrorInfo(reason="EVERY_KIND", domain="open.douyin.com", metadata={"a": "b"})),
        _packed(rpc.RetryInfo(retry_delay=Duration(seconds=7))),
        _packed(rpc.DebugInfo(detail="debug", stack_entries=["one", "two"])),
        _packed(rpc.QuotaFailure(violations=[{"subject": "app", "description": "创建"}])),
        _packed(rpc.PreconditionFailure(violations=[{"type": "ORDER", "subject": "order-1"}])),
        _packed(_bad_fields()),
        _packed(rpc.RequestInfo(request_id="2026112805000000000000000000000001")),
        _packed(rpc.ResourceInfo(resource_type="order", resource_name="order-1")),
        _packed(rpc.Help(links=[{"description": "docs", "url": "docs/ERRORS.md#order_not_paid"}])),
        _packed(rpc.LocalizedMessage(locale="zh-CN", message="订单未支付。")),
        _packed(pb.DouyinError(err_no=23102, err_msg="order not pay", log_id="2026")),
        _packed(failure),
    ]
    return status_pb2.Status(code=9, message="订单未支付。" * 20, details=details)


def of_violations(channel, token):
    """The gateway's status of a create in which 10,000 receivers are wrong."""
    request = pb.CreateSettleRequest(out_order_no="order", out_settle_no="many")
    request.settle_params.extend(pb.SettleParam() for _ in range(VIOLATIONS))
    stub = settlement_pb2_grpc.SettlementServiceStub(channel)
    try:
        stub.CreateSettle(request, metadata=[("authorization", f"Bearer {token}")])
    except grpc.RpcError as error:
        status = rpc_status.from_call(error)
    expect(status.ByteSize() <= DETAILS_BYTES_MAX, f"{status.ByteSize()} bytes")
    violations = rpc.BadRequest()
    expect(any(detail.Unpack(violations) for detail in status.details), "no BadRequest")
    # Twenty, and how many there are besides.
    equal(len(violations.field_violations), 21)
    return status


class _Answering(settlement_pb2_grpc.SettlementServiceServicer):
    """Answers each create with the status that its order names."""

    def __init__(self, statuses):
        self._statuses = statuses

    def CreateSettle(self, request, context):
        status = self._statuses[request.out_order_no]
        context.abort_with_status(rpc_status.to_status(status))


class _Reflecting(grpc.GenericRpcHandler):
    """Asks the gateway, so that grpcurl learns the contract."""

    def __init__(self, channel):
        self._channel = channel

    def service(self, details):
        if not details.method.startswith("/grpc.reflection."):
            return None
        ask = self._channel.stream_stream(details.method)
        return grpc.stream_stream_rpc_method_handler(lambda asked, _context: ask(asked))


@contextlib.contextmanager
def served(statuses, channel):
    """A server that answers with these statuses, by order; its port. The channel leads to a
    gateway, which is asked for the contract."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    settlement_pb2_grpc.add_SettlementServiceServicer_to_server(_Answering(statuses), server)
    server.add_generic_rpc_handlers([_Reflecting(channel)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()
