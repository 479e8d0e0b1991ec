"""Calls the gateway with grpcio, and reads its errors with grpc_status, as callers do.

Prints a line `ok - …` or `not ok - …` per check. Run by scripts/test, which sets CHECK_GATEWAY and
runs it with the Python that has grpcio.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import threading

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from grpc_tools import protoc

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PROTO = os.path.join(ROOT, "proto")
GATEWAY = os.path.abspath(os.environ["CHECK_GATEWAY"])

START_SECONDS_MAX = 15
CALL_SECONDS_MAX = 30
STATUS_BYTES_MAX = 4 * 1024
REQUEST_BYTES_MAX = 64 * 1024

COMMON = ["google.rpc.ErrorInfo", "google.rpc.Help", "google.rpc.LocalizedMessage"]
OF_DOUYIN = [*COMMON, "douyin.settlement.v1.DouyinError", "google.rpc.RequestInfo"]
# What every client sees of the calls it makes: each is a class of errors.
CASES = {
    "invalid": (3, "INVALID_REQUEST", [*COMMON, "google.rpc.BadRequest"]),
    "refused": (9, "ORDER_NOT_PAID", [*OF_DOUYIN, "google.rpc.PreconditionFailure"]),
    "unknown": (14, "SYSTEM_ERROR", [*OF_DOUYIN, "google.rpc.RetryInfo"]),
    "not found": (5, "SETTLE_NOT_FOUND", [*COMMON, "google.rpc.ResourceInfo"]),
}


class Unexpected(Exception):
    pass


def expect(condition, message):
    if not condition:
        raise Unexpected(message)


def equal(seen, wanted):
    expect(seen == wanted, f"wanted {wanted!r}, got {seen!r}")


class Gateway:
    """The gateway with its sandbox as a process of its own in a directory of its own."""

    def __init__(self, directory):
        self.printed = ""
        self.log = open(os.path.join(directory, "stderr"), "w+", encoding="utf-8")
        self.process = subprocess.Popen(
            [GATEWAY, "serve", "--sandbox", "--grpc-addr", "127.0.0.1:0"],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        self.found = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()
        self.found.wait(START_SECONDS_MAX)
        self.address = self._named("gRPC")
        with grpc.insecure_channel(self.address) as channel:
            grpc.channel_ready_future(channel).result(START_SECONDS_MAX)

    def _read(self):
        for line in self.process.stdout:
            self.printed += line
            if line.startswith("Stop with"):
                self.found.set()
        self.found.set()

    def _named(self, name):
        match = re.search(rf"^{name} +(127\.0\.0\.1:\d+)", self.printed, re.MULTILINE)
        expect(match, f"the gateway printed no address of {name}: {self.printed}")
        return match.group(1)

    def logged(self, *parts):
        """How many lines of the gateway's log have all these parts."""
        self.log.seek(0)
        return sum(all(part in line for part in parts) for line in self.log)

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.log.close()


def generate(directory):
    """The Python code of the contract, in a directory of its own."""
    files = ["douyin/settlement/v1/settlement.proto"]
    options = [f"-I{PROTO}", f"-I{protoc_include()}"]
    outputs = [f"--python_out={directory}", f"--grpc_python_out={directory}"]
    equal(protoc.main(["protoc", *options, *outputs, *files]), 0)
    sys.path.insert(0, directory)
    from douyin.settlement.v1 import settlement_pb2, settlement_pb2_grpc

    return settlement_pb2, settlement_pb2_grpc


def protoc_include():
    return os.path.join(os.path.dirname(protoc.__file__), "_proto")


class Python:
    """The calls with grpcio, its errors with grpc_status."""

    def __init__(self, gateway, directory):
        self.gateway = gateway
        self.types, services = generate(directory)
        self.channel = grpc.insecure_channel(gateway.address)
        self.stub = services.SettlementServiceStub(self.channel)
        self.services = services
        self.known = {
            message.DESCRIPTOR.full_name: message
            for message in [
                self.types.DouyinError,
                error_details_pb2.BadRequest,
                error_details_pb2.ErrorInfo,
                error_details_pb2.Help,
                error_details_pb2.LocalizedMessage,
                error_details_pb2.PreconditionFailure,
                error_details_pb2.RequestInfo,
                error_details_pb2.ResourceInfo,
                error_details_pb2.RetryInfo,
            ]
        }

    def create(self, number, order, **more):
        return self.types.CreateSettleRequest(
            **{"out_settle_no": number, "out_order_no": order, "settle_desc": "门店分账", **more}
        )

    def error(self, method, request):
        """The code that the client sees, and every detail decoded, by type."""
        try:
            method(request, timeout=CALL_SECONDS_MAX)
        except grpc.RpcError as problem:
            status = rpc_status.from_call(problem)
            expect(status is not None, f"no rich status: {problem!r}")
            equal(status.code, problem.code().value[0])
            details = {}
            for packed in status.details:
                name = packed.TypeName()
                details[name] = self.known[name]()
                expect(packed.Unpack(details[name]), name)
            equal(len(details), len(status.details))
            return status, details
        raise Unexpected("the call succeeded")

    def calls(self):
        create, get = self.stub.CreateSettle, self.stub.GetSettle
        for method, request in [
            (create, self.create("", "order")),
            (create, self.create("python-refused", "sim-err-23102-1")),
            (create, self.create("python-unknown", "sim-err-23000-1")),
            (get, self.types.GetSettleRequest(out_settle_no="python-nobody")),
        ]:
            status, details = self.error(method, request)
            reason = details["google.rpc.ErrorInfo"].reason
            yield {"code": status.code, "reason": reason, "types": list(details)}

    def ten_thousand_violations(self):
        # The shortest receiver takes 2 bytes, so that 10,000 fit, and breaks two rules.
        wrong = [self.types.SettleParam()] * 10_000
        text = "门店分账" * 3_000
        request = self.create("门" * 64, "单" * 64, settle_desc=text, settle_params=wrong)
        expect(len(request.SerializeToString()) <= REQUEST_BYTES_MAX, "the request is too large")
        status, details = self.error(self.stub.CreateSettle, request)
        equal((status.code, details["google.rpc.ErrorInfo"].reason), (3, "INVALID_REQUEST"))
        expect(details["google.rpc.BadRequest"].field_violations, "no violation is named")
        expect(status.ByteSize() < STATUS_BYTES_MAX, f"{status.ByteSize()} bytes")

    def chinese_text(self):
        # Numbers as long as the contract lets them be, and said back in the metadata.
        request = self.create("分" * 21, "sim-err-23102-" + "单" * 16)
        status, details = self.error(self.stub.CreateSettle, request)
        expect(details["google.rpc.LocalizedMessage"].message, "no Chinese message")
        expect(status.ByteSize() < STATUS_BYTES_MAX, f"{status.ByteSize()} bytes")

    def the_service_config_retries(self):
        with open(os.path.join(ROOT, "docs", "service-config.json"), encoding="utf-8") as file:
            config = file.read()
        (create,) = [
            method
            for method in json.loads(config)["methodConfig"]
            if method["name"][0]["method"] == "CreateSettle"
        ]
        answered = ['"message":"answered"', '"rpc":"CreateSettle"', '"python-retried"']
        options = [("grpc.service_config", config), ("grpc.enable_retries", 1)]
        with grpc.insecure_channel(self.gateway.address, options) as channel:
            stub = self.services.SettlementServiceStub(channel)
            request = self.create("python-retried", "sim-err-23000-2")
            status, details = self.error(stub.CreateSettle, request)
        equal((status.code, details["google.rpc.ErrorInfo"].reason), (14, "SYSTEM_ERROR"))
        # As often as the document says, and no more.
        equal(self.gateway.logged(*answered), create["retryPolicy"]["maxAttempts"])


def compare(seen):
    seen = list(seen)
    equal(len(seen), len(CASES))
    for (name, (code, reason, types)), one in zip(CASES.items(), seen):
        equal(
            (name, one["code"], one["reason"], sorted(one["types"])),
            (name, code, reason, sorted(types)),
        )


def checks(gateway, directory):
    python = Python(gateway, directory)
    yield "python: every error is seen whole", lambda: compare(python.calls())
    yield "python: 10,000 violations stay below 4 KiB", python.ten_thousand_violations
    yield "python: Chinese text stays below 4 KiB", python.chinese_text
    yield "python: the service config makes the client retry", python.the_service_config_retries


def main():
    failed = 0
    with tempfile.TemporaryDirectory() as directory:
        gateway = Gateway(directory)
        try:
            for name, check in checks(gateway, directory):
                try:
                    check()
                    print(f"ok - {name}", flush=True)
                # Whatever goes wrong in one check, the others run.
                except Exception as problem:
                    failed += 1
                    print(f"not ok - {name}: {problem!r}", flush=True)
        finally:
            gateway.stop()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
