"""Makes one payment, as docs/calling.md shows it. See ../README.md.

pay.py ADDRESS OUT_ORDER_NO OUT_SETTLE_NO
"""

import sys
import time

import grpc
from douyin.settlement.v1 import settlement_pb2, settlement_pb2_grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

CREATE_SECONDS_MAX = 25
WATCH_SECONDS_MAX = 300
PAUSE_SECONDS_MAX = 60


class Failure:
    """What an error says. One without details is made by a proxy or a client library."""

    def __init__(self, error):
        info, wait = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        status = rpc_status.from_call(error)
        for detail in status.details if status else []:
            # Unpack does nothing if the detail is of another type.
            detail.Unpack(info) or detail.Unpack(wait)
        self.reason = info.reason
        self.outcome = info.metadata.get("outcome", "unknown")
        self.retry = info.metadata.get("retry", "now")
        self.wait_seconds = wait.retry_delay.ToTimedelta().total_seconds() or 1


class Refused(Exception):
    """Nothing of it is alive at Douyin: the payment may be made under another number."""


class NeedsChange(Exception):
    """This request was not sent, and a repeat would end the same way. The number stays."""


def pay(stub, request):
    """The settle in its final state."""
    pause = 1
    while True:
        try:
            created = stub.CreateSettle(request, timeout=CREATE_SECONDS_MAX).settle
            return follow(stub, created.app_id, created.out_settle_no, created.revision)
        except grpc.RpcError as error:
            failure = Failure(error)
        if failure.outcome == "refused":
            raise Refused(failure.reason)
        if failure.outcome == "not_sent" and failure.retry != "now":
            raise NeedsChange(failure.reason)
        # "not_sent" or "unknown": the same request again, with the same number.
        time.sleep(max(pause, failure.wait_seconds))
        pause = min(2 * pause, PAUSE_SECONDS_MAX)


def follow(stub, app_id, out_settle_no, revision=0):
    """The settle in its final state. Opens the stream again as often as it breaks."""
    while True:
        request = settlement_pb2.WatchSettleRequest(
            app_id=app_id, out_settle_no=out_settle_no, after_revision=revision
        )
        try:
            for event in stub.WatchSettle(request, timeout=WATCH_SECONDS_MAX):
                if event.HasField("settle"):
                    settle, revision = event.settle, event.settle.revision
            # The stream ended with OK, so its last settle is final.
            return settle
        except grpc.RpcError as error:
            failure = Failure(error)
            if failure.reason == "REVISION_FROM_FUTURE":
                revision = 0
            elif failure.retry != "now":
                raise
        time.sleep(failure.wait_seconds)


def permits_another_number(settle):
    """Of a final settle for which CreateSettle, with ACCEPTED, answered OK: it is ours."""
    ended_without_payment = settle.state in (
        settlement_pb2.SETTLE_STATE_FAILED,
        settlement_pb2.SETTLE_STATE_REJECTED,
    )
    return ended_without_payment and not settle.HasField("contradiction")


def main(address, out_order_no, out_settle_no):
    request = settlement_pb2.CreateSettleRequest(
        out_order_no=out_order_no,
        # Stored durably, together with the payment, before this call.
        out_settle_no=out_settle_no,
        settle_desc="store share",
        settle_params=[{"merchant_uid": "7278924576854329635", "amount_fen": 120}],
    )
    with grpc.insecure_channel(address) as channel:
        stub = settlement_pb2_grpc.SettlementServiceStub(channel)
        try:
            settle = pay(stub, request)
        except (Refused, NeedsChange) as error:
            print(type(error).__name__, error)
            return
    state = settlement_pb2.SettleState.Name(settle.state)
    print(state, settle.result.settle_amount_fen, permits_another_number(settle))


main(*sys.argv[1:])
