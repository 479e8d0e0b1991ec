"""Calls the gateway as a person at a terminal would: the real binary with its sandbox, the real
grpcurl (reflection v1alpha) and buf (reflection v1).

Prints a line `ok - …` or `not ok - …` per check; fails on anything unexpected. Run by scripts/test,
which sets CHECK_GATEWAY, CHECK_GRPCURL and CHECK_BUF.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

from harness import HEALTH, PROTO, SERVICE, equal, expect, run

GRPCURL = os.environ["CHECK_GRPCURL"]
BUF = os.environ["CHECK_BUF"]

OPERATORS = "douyin.settlement.v1.OperatorService"
RPCS = {
    SERVICE: [
        "CreateSettle",
        "GetSettle",
        "GetUnsettledAmount",
        "ListSettles",
        "QuerySettles",
        "WaitSettle",
        "WatchSettle",
    ],
    OPERATORS: [
        "EndSettle",
        "ListStuckSettles",
        "ResolveContradiction",
        "ShowSettle",
        "StopSending",
    ],
}
METHODS = {f"{service}/{rpc}" for service, rpcs in RPCS.items() for rpc in rpcs}

CALL_SECONDS_MAX = 10
WATCH_SECONDS_MAX = 5
STOP_SECONDS_MAX = 20

# What grpcurl adds to the gRPC code to make its exit code.
GRPCURL_EXIT = 64
INVALID_ARGUMENT, NOT_FOUND, RESOURCE_EXHAUSTED, FAILED_PRECONDITION = 3, 5, 8, 9
UNIMPLEMENTED, UNAVAILABLE = 12, 14

# Every error has these, and each kind of error some more.
FAILURE = "douyin.settlement.v1.SettlementFailure"
ALWAYS = {FAILURE, "google.rpc.ErrorInfo", "google.rpc.LocalizedMessage", "google.rpc.Help"}
OF_DOUYIN = {"douyin.settlement.v1.DouyinError", "google.rpc.RequestInfo"}

REFUSED = ("OUTCOME_REFUSED", "SETTLE_STATE_REJECTED")

RUN = f"{os.getpid()}-{time.time_ns()}"
SETTLE = {
    "outOrderNo": f"order-{RUN}",
    "outSettleNo": f"settle-{RUN}",
    "settleDesc": "门店分账",
    "settleParams": [{"merchantUid": "7001", "amountFen": "100"}],
}
KEY = {"outSettleNo": SETTLE["outSettleNo"]}


def call(command, exit_code=0):
    """What the command printed: standard output if it is to succeed, else standard error."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=CALL_SECONDS_MAX)
    expect(
        done.returncode == exit_code,
        f"exit code {done.returncode}, not {exit_code}: {done.stdout}{done.stderr}",
    )
    return done.stdout if exit_code == 0 else done.stderr


def grpcurl(gateway, *arguments, request=None, exit_code=0):
    """The first argument that is not an option comes after the address."""
    data = [] if request is None else ["-d", json.dumps(request)]
    options = ["-plaintext", "-format-error", "-max-time", str(CALL_SECONDS_MAX), *data]
    return call([GRPCURL, *options, gateway.address, *arguments], exit_code)


def messages(text):
    """The JSON values that grpcurl printed one after the other."""
    decoder, values, position = json.JSONDecoder(), [], 0
    text = text.strip()
    while position < len(text):
        value, position = decoder.raw_decode(text, position)
        values.append(value)
        position += len(text[position:]) - len(text[position:].lstrip())
    return values


def error(gateway, method, request, code):
    """The details of an error by their type; every one is decoded and there at most once."""
    text = grpcurl(gateway, method, request=request, exit_code=GRPCURL_EXIT + code)
    expect("not recognized" not in text, f"details that grpcurl cannot decode: {text}")
    status = json.loads(text[text.index("{") :])
    equal(status["code"], code)
    details = {detail["@type"].rpartition("/")[2]: detail for detail in status["details"]}
    equal(len(details), len(status["details"]))
    reason = details["google.rpc.ErrorInfo"]["reason"]
    equal(details["google.rpc.Help"]["links"][0]["url"], f"docs/ERRORS.md#{reason.lower()}")
    return details


def reflection_lists_the_services(gateway):
    services = set(grpcurl(gateway, "list").split())
    reflection = {name for name in services if name.startswith("grpc.reflection.")}
    equal(services - reflection, {SERVICE, OPERATORS, HEALTH})


def reflection_describes_methods_messages_and_details(gateway):
    found = set()
    for service in RPCS:
        described = grpcurl(gateway, "describe", service)
        found |= {f"{service}/{rpc}" for rpc in re.findall(r"rpc (\w+) ", described)}
    equal(found, METHODS)
    described = grpcurl(gateway, "describe", SERVICE)
    expect("returns ( stream .douyin.settlement.v1.WatchSettleResponse )" in described, described)
    for name in [
        "douyin.settlement.v1.Settle",
        "douyin.settlement.v1.DouyinError",
        "google.rpc.BadRequest",
        "google.rpc.ErrorInfo",
        "google.rpc.RetryInfo",
    ]:
        expect(f"{name} is a message" in grpcurl(gateway, "describe", name), name)


def reflection_v1_lists_the_methods(gateway):
    listed = call(
        [
            *[BUF, "curl", "--protocol", "grpc", "--http2-prior-knowledge"],
            *["--reflect-protocol", "grpc-v1", "--list-methods", f"http://{gateway.address}"],
        ]
    )
    methods = {line for line in listed.split() if not line.startswith("grpc.")}
    equal(methods, METHODS)


def health_is_serving(gateway):
    for service in ["", SERVICE]:
        answer = grpcurl(gateway, f"{HEALTH}/Check", request={"service": service})
        equal(messages(answer), [{"status": "SERVING"}])


def health_of_an_unknown_service_is_not_found(gateway):
    request = {"service": "no.such.Service"}
    grpcurl(gateway, f"{HEALTH}/Check", request=request, exit_code=GRPCURL_EXIT + NOT_FOUND)


def a_settle_is_accepted_and_watched_to_its_end(gateway):
    began = time.monotonic()
    (created,) = messages(grpcurl(gateway, f"{SERVICE}/CreateSettle", request=SETTLE))
    settle = created["settle"]
    equal(created.get("replayed", False), False)
    equal({name: settle[name] for name in SETTLE}, SETTLE)
    equal(settle["state"], "SETTLE_STATE_PROCESSING")
    expect(settle.get("settleId"), "no settleId")

    events = messages(grpcurl(gateway, f"{SERVICE}/WatchSettle", request=KEY))
    took = time.monotonic() - began
    expect(took < WATCH_SECONDS_MAX, f"took {took:.1f} s")
    seen = [event["settle"] for event in events if "settle" in event]
    equal(len(seen) + sum("heartbeat" in event for event in events), len(events))
    revisions = [int(settle["revision"]) for settle in seen]
    equal(revisions, sorted(set(revisions)))
    equal(events[-1].get("settle", {}).get("state"), "SETTLE_STATE_SUCCEEDED")
    equal(events[-1]["settle"]["settleId"], settle["settleId"])


def a_repeat_is_answered_from_the_record(gateway):
    (repeated,) = messages(grpcurl(gateway, f"{SERVICE}/CreateSettle", request=SETTLE))
    equal(repeated["replayed"], True)
    equal(repeated["settle"]["state"], "SETTLE_STATE_SUCCEEDED")


def an_invalid_request_names_every_wrong_field(gateway):
    request = {**SETTLE, "outOrderNo": "", "settleParams": [{"merchantUid": "7001"}]}
    details = error(gateway, f"{SERVICE}/CreateSettle", request, INVALID_ARGUMENT)
    violations = details["google.rpc.BadRequest"]["fieldViolations"]
    fields = {violation["field"] for violation in violations}
    equal(fields, {"out_order_no", "settle_params[0].amount_fen"})
    expect(all(violation["description"] for violation in violations), violations)
    info = details["google.rpc.ErrorInfo"]
    equal(info["reason"], "INVALID_REQUEST")
    equal(info["domain"], "douyin.settlement.v1")
    equal(info["metadata"]["outcome"], "not_sent")
    equal(set(details), ALWAYS | {"google.rpc.BadRequest"})


def a_refusal_says_what_douyin_said(gateway):
    request = {**SETTLE, "outSettleNo": "refused", "outOrderNo": "sim-err-23102-1"}
    details = error(gateway, f"{SERVICE}/CreateSettle", request, FAILED_PRECONDITION)
    said = details["douyin.settlement.v1.DouyinError"]
    equal(said["errNo"], 23102)
    info = details["google.rpc.ErrorInfo"]
    equal((info["reason"], info["domain"]), ("ORDER_NOT_PAID", "open.douyin.com"))
    equal((info["metadata"]["outcome"], info["metadata"]["retry"]), ("refused", "after_change"))
    equal((details[FAILURE]["outcome"], details[FAILURE]["state"]), REFUSED)
    equal(details["google.rpc.RequestInfo"]["requestId"], said["logId"])
    equal(set(details), ALWAYS | OF_DOUYIN | {"google.rpc.PreconditionFailure"})
    (violation,) = details["google.rpc.PreconditionFailure"]["violations"]
    equal(violation["subject"], "order/sim-err-23102-1")


def an_unknown_outcome_says_when_to_come_back(gateway):
    request = {**SETTLE, "outSettleNo": "unknown", "outOrderNo": "sim-err-23000-1"}
    details = error(gateway, f"{SERVICE}/CreateSettle", request, UNAVAILABLE)
    info = details["google.rpc.ErrorInfo"]
    equal((info["reason"], info["metadata"]["outcome"]), ("SYSTEM_ERROR", "unknown"))
    expect(details["google.rpc.RetryInfo"]["retryDelay"].endswith("s"), details)
    equal(set(details), ALWAYS | OF_DOUYIN | {"google.rpc.RetryInfo"})


def an_unknown_settle_is_not_found(gateway):
    request = {"outSettleNo": f"unknown-{RUN}"}
    details = error(gateway, f"{SERVICE}/GetSettle", request, NOT_FOUND)
    equal(details["google.rpc.ErrorInfo"]["reason"], "SETTLE_NOT_FOUND")
    equal(set(details), ALWAYS | {"google.rpc.ResourceInfo"})
    equal(details["google.rpc.ResourceInfo"]["resourceName"], request["outSettleNo"])


def a_throttled_app_is_told_whose_limit_it_is(gateway):
    request = {**SETTLE, "outSettleNo": "throttled", "outOrderNo": "sim-err-12001-1"}
    details = error(gateway, f"{SERVICE}/CreateSettle", request, RESOURCE_EXHAUSTED)
    equal(details["google.rpc.ErrorInfo"]["reason"], "UPSTREAM_RATE_LIMITED")
    more = {"google.rpc.RetryInfo", "google.rpc.QuotaFailure"}
    equal(set(details), ALWAYS | OF_DOUYIN | more)
    (violation,) = details["google.rpc.QuotaFailure"]["violations"]
    equal(violation["subject"], "app/ttsandbox0000000001")


def an_rpc_that_there_is_not_is_told_in_the_same_shape(gateway):
    with tempfile.TemporaryDirectory() as directory:
        # A contract of tomorrow: grpcurl calls what its descriptor has.
        with open(os.path.join(directory, "tomorrow.proto"), "w", encoding="utf-8") as proto:
            proto.write(
                'syntax = "proto3"; package douyin.settlement.v1; message Nothing {} '
                "message SettlementFailure { string reason = 4; } "
                "service SettlementService { rpc ReturnSettle(Nothing) returns (Nothing); }"
            )
        options = ["-import-path", directory, "-proto", "tomorrow.proto"]
        options += ["-import-path", PROTO, "-proto", "google/rpc/error_details.proto"]
        options += ["-plaintext", "-format-error", "-d", "{}", gateway.address]
        method = f"{SERVICE}/ReturnSettle"
        text = call([GRPCURL, *options, method], GRPCURL_EXIT + UNIMPLEMENTED)
    expect("RPC_NOT_FOUND" in text and "not recognized" not in text, text)


def it_stops_when_told_to(gateway):
    gateway.process.send_signal(signal.SIGTERM)
    equal(gateway.process.wait(STOP_SECONDS_MAX), 0)
    expect("panicked" not in gateway.printed(), "a panic")


# In this order: the last checks rely on the settle that the first ones made, and on no call after
# the stop.
CHECKS = [
    reflection_lists_the_services,
    reflection_describes_methods_messages_and_details,
    reflection_v1_lists_the_methods,
    health_is_serving,
    health_of_an_unknown_service_is_not_found,
    a_settle_is_accepted_and_watched_to_its_end,
    a_repeat_is_answered_from_the_record,
    an_invalid_request_names_every_wrong_field,
    a_refusal_says_what_douyin_said,
    an_unknown_outcome_says_when_to_come_back,
    an_unknown_settle_is_not_found,
    an_rpc_that_there_is_not_is_told_in_the_same_shape,
    a_throttled_app_is_told_whose_limit_it_is,
    it_stops_when_told_to,
]


if __name__ == "__main__":
    sys.exit(0 if run("grpcurl", CHECKS) else 1)
