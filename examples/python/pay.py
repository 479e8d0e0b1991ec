"""Makes one payment and follows it to its end.

    pay.py ADDRESS OUT_ORDER_NO OUT_SETTLE_NO

GATEWAY_TOKEN is the caller's token, GATEWAY_CA the file of the authorities (without it: no TLS).
"""

import os
import sys
import time
from pathlib import Path

import grpc
from douyin.settlement.v1 import settlement_pb2 as pb
from douyin.settlement.v1 import settlement_pb2_grpc
from google.protobuf.duration_pb2 import Duration
from grpc_status import rpc_status

SERVICE_CONFIG = Path(__file__).parents[2] / "docs" / "service-config.json"
AUTHORIZED = [("authorization", f"Bearer {os.environ.get('GATEWAY_TOKEN', '')}")]
CREATE_SECONDS = float(os.environ.get("CREATE_SECONDS", "25"))


def failure(error):
    """What an error says. One without details is made by a proxy or a library: nothing is known."""
    told = pb.SettlementFailure(
        outcome=pb.OUTCOME_UNKNOWN, retry=pb.RETRY_NOW, retry_delay=Duration(seconds=1)
    )
    status = rpc_status.from_call(error)
    for detail in status.details if status else []:
        detail.Unpack(told)  # does nothing if the detail is of another type
    return told


def pay(stub, request):
    """The settle in its final state. Every repeat has the same number, which is stored already."""
    while True:
        try:
            created = stub.CreateSettle(request, timeout=CREATE_SECONDS, metadata=AUTHORIZED)
            return follow(stub, created.settle)
        except grpc.RpcError as error:
            told = failure(error)
        if told.outcome == pb.OUTCOME_REFUSED:
            sys.exit(f"REFUSED {told.reason}: another number may be taken")
        if told.outcome == pb.OUTCOME_NOT_SENT and told.retry != pb.RETRY_NOW:
            sys.exit(f"NOT_SENT {told.reason}: something must change, the number stays")
        time.sleep(told.retry_delay.ToTimedelta().total_seconds() or 5)


def follow(stub, settle):
    """Opens the stream again as often as it breaks. OK ends it, after the final state."""
    request = pb.WatchSettleRequest(
        app_id=settle.app_id, out_settle_no=settle.out_settle_no, after_revision=settle.revision
    )
    while True:
        try:
            for event in stub.WatchSettle(request, timeout=300, metadata=AUTHORIZED):
                if event.HasField("settle"):
                    settle, request.after_revision = event.settle, event.settle.revision
            return settle
        except grpc.RpcError as error:
            told = failure(error)
        if told.reason == "REVISION_FROM_FUTURE":  # the gateway was restored from a backup
            request.after_revision = 0
        elif told.retry != pb.RETRY_NOW:
            sys.exit(f"UNKNOWN {told.reason}")
        time.sleep(told.retry_delay.ToTimedelta().total_seconds() or 1)


def main(address, out_order_no, out_settle_no):
    options = [("grpc.service_config", SERVICE_CONFIG.read_text())]
    if authorities := os.environ.get("GATEWAY_CA"):
        tls = grpc.ssl_channel_credentials(Path(authorities).read_bytes())
        channel = grpc.secure_channel(address, tls, options)
    else:
        channel = grpc.insecure_channel(address, options)
    request = pb.CreateSettleRequest(
        out_order_no=out_order_no, out_settle_no=out_settle_no, settle_desc="store share"
    )
    request.settle_params.add(merchant_uid="7278924576854329635", amount_fen=120)
    with channel:
        settle = pay(settlement_pb2_grpc.SettlementServiceStub(channel), request)
    print(pb.SettleState.Name(settle.state), settle.result.settle_amount_fen)


main(*sys.argv[1:])
