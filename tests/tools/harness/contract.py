"""The messages of the callers' contract, compiled for this run, and calls with them."""

import importlib
import subprocess
import sys
import tempfile

import grpc
from google.rpc import status_pb2

from . import PROTO, SERVICE, equal

CONTRACT = "douyin/settlement/v1/settlement.proto"


def _messages():
    with tempfile.TemporaryDirectory() as directory:
        out = [f"-I{PROTO}", f"--python_out={directory}"]
        subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *out, CONTRACT], check=True)
        sys.path.insert(0, directory)
        try:
            return importlib.import_module("douyin.settlement.v1.settlement_pb2")
        finally:
            sys.path.remove(directory)


pb = _messages()


def create_request(number, order=None):
    return pb.CreateSettleRequest(
        out_order_no=order or f"order-of-{number}", out_settle_no=number, settle_desc="store share"
    )


def call(channel, method, request, answer, **options):
    options.setdefault("timeout", 20)
    path = f"/{SERVICE}/{method}"
    return channel.unary_unary(path, type(request).SerializeToString, answer.FromString)(
        request, **options
    )


def create(channel, number, order=None, **options):
    request = create_request(number, order)
    return call(channel, "CreateSettle", request, pb.CreateSettleResponse, **options)


def watch(channel, number, heartbeat_seconds=1, after_revision=0, **options):
    """A stream of what becomes of a settle."""
    options.setdefault("timeout", 30)
    request = pb.WatchSettleRequest(out_settle_no=number, after_revision=after_revision)
    request.heartbeat_interval.FromSeconds(heartbeat_seconds)
    encode, decode = type(request).SerializeToString, pb.WatchSettleResponse.FromString
    return channel.unary_stream(f"/{SERVICE}/WatchSettle", encode, decode)(request, **options)


def refused(code, work):
    """The SettlementFailure of a call that ends with this code; `None` if a proxy made the error."""
    try:
        work()
    except grpc.RpcError as error:
        equal(error.code(), code)
        return failure(error)
    raise AssertionError("the call succeeded")


def failure(error):
    """`None` if the error is not the gateway's."""
    told = pb.SettlementFailure()
    details = dict(error.trailing_metadata()).get("grpc-status-details-bin", b"")
    found = [it for it in status_pb2.Status.FromString(details).details if it.Unpack(told)]
    return told if found else None
