"""The calls of ../../clients.py with grpcio; grpc_status decodes. See ../README.md."""

import base64
import json
import sys

import grpc
from douyin.settlement.v1 import settlement_pb2
from google.protobuf import json_format
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2
from grpc_status import rpc_status

CALL_SECONDS_MAX = 30
TRAILER = "grpc-status-details-bin"

SERVICE = settlement_pb2.DESCRIPTOR.services_by_name["SettlementService"]
KNOWN = {
    message.full_name: GetMessageClass(message)
    for file in [settlement_pb2, error_details_pb2]
    for message in file.DESCRIPTOR.message_types_by_name.values()
}


def error(channel, rpc, request):
    method = SERVICE.methods_by_name[rpc]
    message = json_format.ParseDict(request, GetMessageClass(method.input_type)())
    path = f"/{SERVICE.full_name}/{rpc}"
    decode = GetMessageClass(method.output_type).FromString
    kind = channel.unary_stream if method.server_streaming else channel.unary_unary
    call = kind(path, type(message).SerializeToString, decode)
    try:
        answer = call(message, timeout=CALL_SECONDS_MAX)
        list(answer) if method.server_streaming else answer
    except grpc.RpcError as problem:
        return problem
    raise SystemExit(f"{rpc} succeeded")


def decoded(detail):
    message = KNOWN[detail.TypeName()]()
    if not detail.Unpack(message):
        raise SystemExit(f"not decoded: {detail}")
    return {"@type": detail.type_url, **json_format.MessageToDict(message)}


def main(address, calls):
    with open(calls, encoding="utf-8") as file, grpc.insecure_channel(address) as channel:
        for call in json.load(file):
            problem = error(channel, call["rpc"], call["request"])
            (raw,) = [value for key, value in problem.trailing_metadata() if key == TRAILER]
            status = rpc_status.from_call(problem)
            seen = {
                "code": problem.code().value[0],
                "message": problem.details(),
                "status": base64.b64encode(raw).decode(),
                "details": [decoded(detail) for detail in status.details],
            }
            print(json.dumps(seen), flush=True)


main(*sys.argv[1:])
