"""A client that pays twice, kept so that `conformance` is seen to notice it: after any error it
tries again under a new number. Do not copy it.

    naive.py ADDRESS OUT_ORDER_NO OUT_SETTLE_NO
"""

import os
import sys
import time

import grpc
from douyin.settlement.v1 import settlement_pb2 as pb
from douyin.settlement.v1 import settlement_pb2_grpc

TRIES_MAX = 25
FINAL = [pb.SETTLE_STATE_SUCCEEDED, pb.SETTLE_STATE_FAILED, pb.SETTLE_STATE_REJECTED]
SECONDS = float(os.environ.get("CREATE_SECONDS", 25))


def pay(stub, out_order_no, out_settle_no):
    request = pb.CreateSettleRequest(
        out_order_no=out_order_no, out_settle_no=out_settle_no, settle_desc="store share"
    )
    request.settle_params.add(merchant_uid="7278924576854329635", amount_fen=120)
    settle = stub.CreateSettle(request, timeout=SECONDS).settle
    watch = pb.WatchSettleRequest(out_settle_no=out_settle_no)
    for event in stub.WatchSettle(watch, timeout=60):
        if event.HasField("settle"):
            settle = event.settle
    return settle


def main(address, out_order_no, out_settle_no):
    with grpc.insecure_channel(address) as channel:
        stub = settlement_pb2_grpc.SettlementServiceStub(channel)
        for nth in range(TRIES_MAX):
            try:
                # Here is the mistake: an error says nothing about the first number's money.
                settle = pay(stub, out_order_no, f"{out_settle_no}-{nth}" if nth else out_settle_no)
            except grpc.RpcError as error:
                print(error.code(), flush=True)
                time.sleep(0.5)
                continue
            if settle.state in FINAL:
                print(pb.SettleState.Name(settle.state))
                return
    sys.exit("UNKNOWN: too many errors")


main(*sys.argv[1:])
