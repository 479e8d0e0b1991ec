"""Every error that the gateway gives is seen whole by the clients that callers use: grpcio, grpc-js,
grpc-java and grpc-go make the same calls, and each must decode what the bytes on the wire say.

Prints a line `ok - …` or `not ok - …` per client and call. Run by scripts/test, which sets
CHECK_GATEWAY, CHECK_NODE, CHECK_NODE_MODULES and CHECK_GO.
"""

import base64
import glob
import json
import os
import subprocess
import sys
import tempfile

from google.protobuf import descriptor_pb2, descriptor_pool, json_format
from google.rpc import status_pb2
from grpc_tools import protoc

from harness import PROTO, equal, expect, run

CLIENTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "clients")
CONTRACT = "douyin/settlement/v1/settlement.proto"
DETAILS = [f"google/rpc/{name}.proto" for name in ["code", "error_details", "status"]]

BUILD_SECONDS_MAX = 240
CLIENT_SECONDS_MAX = 60
STATUS_BYTES_MAX = 4 * 1024

COMMON = ["google.rpc.ErrorInfo", "google.rpc.Help", "google.rpc.LocalizedMessage"]
OF_DOUYIN = [*COMMON, "douyin.settlement.v1.DouyinError", "google.rpc.RequestInfo"]

ORDINARY = {"outSettleNo": "settle-1", "outOrderNo": "order-1", "settleDesc": "门店分账"}


def case(name, rpc, request, code, reason, types):
    return {
        "name": name,
        "call": {"rpc": rpc, "request": request},
        "code": code,
        "reason": reason,
        "types": sorted(types),
    }


# Every kind of detail is in one of them. In this order: Douyin is left alone after it throttled.
CASES = [
    case(
        "an invalid request",
        "CreateSettle",
        {**ORDINARY, "outSettleNo": ""},
        *(3, "INVALID_REQUEST", [*COMMON, "google.rpc.BadRequest"]),
    ),
    case(
        "10,000 violations",
        "CreateSettle",
        {
            "outSettleNo": "门" * 64,
            "outOrderNo": "单" * 64,
            "settleDesc": "门店分账" * 3_000,
            # Each takes 2 bytes and breaks two rules.
            "settleParams": [{}] * 10_000,
        },
        *(3, "INVALID_REQUEST", [*COMMON, "google.rpc.BadRequest"]),
    ),
    case(
        "a refusal",
        "CreateSettle",
        {**ORDINARY, "outSettleNo": "refused", "outOrderNo": "sim-err-23102-1"},
        *(9, "ORDER_NOT_PAID", [*OF_DOUYIN, "google.rpc.PreconditionFailure"]),
    ),
    case(
        "Chinese numbers as long as they may be",
        "CreateSettle",
        {
            "outSettleNo": "分" * 21,
            "outOrderNo": "sim-err-23102-" + "单" * 16,
            "settleDesc": "门店分账" * 6,
        },
        *(9, "ORDER_NOT_PAID", [*OF_DOUYIN, "google.rpc.PreconditionFailure"]),
    ),
    case(
        "an unknown outcome",
        "CreateSettle",
        {**ORDINARY, "outSettleNo": "unknown", "outOrderNo": "sim-err-23000-1"},
        *(14, "SYSTEM_ERROR", [*OF_DOUYIN, "google.rpc.RetryInfo"]),
    ),
    case(
        "no such settle",
        "GetSettle",
        {"outSettleNo": "not-there"},
        *(5, "SETTLE_NOT_FOUND", [*COMMON, "google.rpc.ResourceInfo"]),
    ),
    case(
        "a stream that cannot begin",
        "WatchSettle",
        {"outSettleNo": ""},
        *(3, "INVALID_REQUEST", [*COMMON, "google.rpc.BadRequest"]),
    ),
    case(
        "a throttled app",
        "CreateSettle",
        {**ORDINARY, "outSettleNo": "throttled", "outOrderNo": "sim-err-12001-1"},
        *(8, "UPSTREAM_RATE_LIMITED"),
        [*OF_DOUYIN, "google.rpc.RetryInfo", "google.rpc.QuotaFailure"],
    ),
]


def done(command, seconds_max, **options):
    """What a command printed."""
    options["env"] = {**os.environ, **options.get("env", {})}
    ran = subprocess.run(command, capture_output=True, text=True, timeout=seconds_max, **options)
    expect(ran.returncode == 0, f"{command[0]} ended with {ran.returncode}: {ran.stderr}")
    return ran.stdout


def compile_for_python(*arguments):
    include = os.path.join(os.path.dirname(protoc.__file__), "_proto")
    equal(protoc.main(["protoc", f"-I{PROTO}", f"-I{include}", *arguments]), 0)


def known_types():
    """What every client should know: the contract and the details of google.rpc."""
    with tempfile.NamedTemporaryFile() as compiled:
        out = ["--include_imports", f"--descriptor_set_out={compiled.name}"]
        compile_for_python(*out, CONTRACT, *DETAILS)
        files = descriptor_pb2.FileDescriptorSet.FromString(compiled.read())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    return pool


def python(directory):
    compile_for_python(f"--python_out={directory}", CONTRACT)
    return [sys.executable, os.path.join(CLIENTS, "python", "client.py")], {"PYTHONPATH": directory}


def node(_directory):
    program = [os.environ["CHECK_NODE"], os.path.join(CLIENTS, "node", "client.js")]
    return program, {"NODE_PATH": os.environ["CHECK_NODE_MODULES"], "PROTO": PROTO}


# Debian's libraries want the code that Debian's protoc makes.
def java(directory):
    out = [f"--java_out={directory}", f"--grpc-java_out={directory}"]
    out += ["--plugin=protoc-gen-grpc-java=/usr/bin/grpc_java_plugin"]
    done(["protoc", f"-I{PROTO}", *out, CONTRACT, *DETAILS], BUILD_SECONDS_MAX)
    netty = ["buffer", "codec", "codec-http", "codec-http2", "common", "handler", "resolver"]
    jars = [
        *["grpc-api", "grpc-context", "grpc-core", "grpc-netty", "grpc-protobuf"],
        *["grpc-protobuf-lite", "grpc-stub", "gson", "guava", "opencensus-api", "perfmark-api"],
        *["protobuf", "protobuf-util", "geronimo-annotation-1.3-spec"],
        *[f"netty-{part}" for part in [*netty, "transport"]],
    ]
    # What was generated first: the types in Debian's jars are older.
    path = ":".join([directory, *[f"/usr/share/java/{jar}.jar" for jar in jars]])
    sources = glob.glob(f"{directory}/**/*.java", recursive=True)
    sources.append(os.path.join(CLIENTS, "java", "Client.java"))
    done(["javac", "-nowarn", "-cp", path, "-d", directory, *sources], BUILD_SECONDS_MAX)
    return ["java", "-cp", path, "Client"], {}


def build_go(directory, source, options=""):
    generated = os.path.join(directory, "src")
    os.mkdir(generated)
    done(["protoc", f"-I{PROTO}", f"--go_out={options}{generated}", CONTRACT], BUILD_SECONDS_MAX)
    # Debian's sources are a GOPATH; only the standard library's files are Go's own.
    settings = {
        "GO111MODULE": "off",
        "GOPATH": f"{directory}:/usr/share/gocode",
        "GOFLAGS": "",
        "CGO_ENABLED": "0",
    }
    program = os.path.join(directory, "client")
    done([os.environ["CHECK_GO"], "build", "-o", program, source], BUILD_SECONDS_MAX, env=settings)
    return [program]


def go(directory):
    return build_go(directory, os.path.join(CLIENTS, "go", "main.go")), {}


KNOWN = known_types()


def checks_of(client):
    """One check per case, of what one run of the client saw."""
    seen = []

    def it_builds_and_runs(gateway):
        with tempfile.TemporaryDirectory() as directory:
            program, settings = client(directory)
            calls = os.path.join(directory, "calls.json")
            with open(calls, "w", encoding="utf-8") as file:
                json.dump([case["call"] for case in CASES], file)
            command = [*program, gateway.address, calls]
            lines = done(command, CLIENT_SECONDS_MAX, env=settings).splitlines()
        seen.extend(json.loads(line) for line in lines)
        equal(len(seen), len(CASES))

    def check_of(index, case):
        def check(_gateway):
            expect(index < len(seen), "it was not seen")
            compare(case, **seen[index])

        check.__name__ = case["name"]
        return check

    return [it_builds_and_runs, *[check_of(index, case) for index, case in enumerate(CASES)]]


def compare(case, code, message, status, details):
    wire = base64.b64decode(status)
    told = status_pb2.Status.FromString(wire)
    equal((code, message), (told.code, told.message))
    equal(details, json_format.MessageToDict(told, descriptor_pool=KNOWN).get("details"))
    expect(len(wire) < STATUS_BYTES_MAX, f"{len(wire)} bytes")

    by_type = {detail["@type"].rpartition("/")[2]: detail for detail in details}
    equal(len(by_type), len(details))
    equal(sorted(by_type), case["types"])
    equal((code, by_type["google.rpc.ErrorInfo"]["reason"]), (case["code"], case["reason"]))
    equal(by_type["google.rpc.LocalizedMessage"]["locale"], "zh-CN")
    if "google.rpc.BadRequest" in by_type:
        expect(by_type["google.rpc.BadRequest"]["fieldViolations"], "no violation is named")


def main():
    passed = [run(client.__name__, checks_of(client)) for client in [python, node, java, go]]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
