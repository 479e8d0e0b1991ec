"""deploy/envoy/envoy.yaml in the real Envoy, in front of two gateways: who a caller is, JSON,
grpc-web and Connect, idle streams, retries counted in Douyin's books, one app's trouble, and the
rate limit.

Each gateway has a database of its own here, as if each had always answered its share of the numbers.
replicas.py has some that share one, and stops and kills them.

Prints a line `ok - …` or `not ok - …` per check. Run by scripts/test, which sets CHECK_GATEWAY and
CHECK_ENVOY.
"""

import http.client
import json
import ssl
import sys
import time
from concurrent import futures

import grpc

from harness import SERVICE, equal, expect, run
from harness import envoy
from harness.contract import call, create, create_request, failure, pb, refused, watch
from harness.world import CALLER, get

IDLE_SECONDS = 3
# Calls of the check for the rate limit, in one burst.
BURST, BURST_CALLS = 200, 1_000
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Mesh(envoy.Mesh):
    """Two gateways with an Envoy in front of them, and with shorter times and limits."""

    def __init__(self, directory):
        changes = [
            ("stream_idle_timeout: 25s", f"stream_idle_timeout: {IDLE_SECONDS}s"),
            ("max_tokens: 2000, tokens_per_fill: 1000", f"max_tokens: {BURST}, tokens_per_fill: 100"),
        ]
        super().__init__(directory, changes, gateways=2)
        self.stranger = self.authority.issue("stranger", "URI:spiffe://example.com/stranger")

    def http(self, method, path, body=None, **headers):
        """Status, type and body of an HTTP/1.1 answer to the shop."""
        context = ssl.create_default_context(cafile=self.authority.file)
        context.load_cert_chain(*self.shop)
        line = http.client.HTTPSConnection("localhost", self.port, context=context, timeout=30)
        try:
            line.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
            answer = line.getresponse()
            return answer.status, answer.getheader("content-type"), answer.read()
        finally:
            line.close()


def the_caller_is_the_one_of_the_certificate_and_its_trace_goes_through(mesh):
    with mesh.channel(mesh.shop) as channel:
        traced = [("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01")]
        create(channel, "identity", metadata=traced)
    _, line = mesh.audited("identity")
    equal((line["who"], line["trace_id"]), ("shop", TRACE))


def a_stranger_gets_nowhere_whatever_it_claims(mesh):
    claimed = [("x-forwarded-client-cert", f"URI={CALLER}")]
    with mesh.channel(mesh.stranger) as channel:
        work = lambda: create(channel, "stranger", metadata=claimed)
        told = refused(grpc.StatusCode.UNAUTHENTICATED, work)
    equal((told.outcome, told.reason), (pb.OUTCOME_NOT_SENT, "UNAUTHENTICATED"))
    with open(mesh.authority.file, "rb") as ca:
        tls = grpc.ssl_channel_credentials(ca.read())
    with grpc.secure_channel(f"localhost:{mesh.port}", tls) as channel:
        refused(grpc.StatusCode.UNAVAILABLE, lambda: create(channel, "no-certificate"))


def a_script_pays_by_json_over_http(mesh):
    body = {"outOrderNo": "json-order", "outSettleNo": "json", "settleDesc": "门店分账"}
    body["settleParams"] = [{"merchantUid": "7001", "amountFen": "100"}]
    status, kind, text = mesh.http("POST", "/v1/settles", json.dumps(body))
    equal((status, kind), (200, "application/json"))
    equal(json.loads(text)["settle"]["state"], "SETTLE_STATE_PROCESSING")
    gateway = "of the gateway that has it"
    for path in ["/v1/settles/json", "/v1/settles:get?out_settle_no=json"]:
        found = [mesh.http("GET", path) for _ in range(8)]
        expect(any(status == 200 for status, _, _ in found), f"{path} {gateway}: {found}")


def json_watches_to_the_end(mesh):
    body = {"outOrderNo": "watched-order", "outSettleNo": "watched", "settleDesc": "x"}
    equal(mesh.http("POST", "/v1/settles", json.dumps(body))[0], 200)
    for _ in range(8):
        status, _, text = mesh.http("GET", "/v1/settles/watched:watch")
        if status == 200:
            events = json.loads(text)
            equal(events[-1]["settle"]["state"], "SETTLE_STATE_SUCCEEDED")
            return
    raise AssertionError("no gateway has it")


def an_error_in_json_has_its_details(mesh):
    body = {"outOrderNo": "sim-err-23102-1", "outSettleNo": "json-refused", "settleDesc": "x"}
    status, kind, text = mesh.http("POST", "/v1/settles", json.dumps(body))
    equal((status, kind), (400, "application/json"))
    details = {it["@type"].rpartition(".")[2]: it for it in json.loads(text)["details"]}
    told = details["SettlementFailure"]
    equal((told["outcome"], told["reason"]), ("OUTCOME_REFUSED", "ORDER_NOT_PAID"))
    equal(details["ErrorInfo"]["metadata"]["outcome"], "refused")


def grpc_web_and_connect_in_binary_work(mesh):
    method = f"/{SERVICE}/CreateSettle"
    message = create_request("web").SerializeToString()
    frame = b"\0" + len(message).to_bytes(4, "big") + message
    status, kind, body = mesh.http("POST", method, frame, content_type="application/grpc-web+proto")
    equal((status, kind), (200, "application/grpc-web+proto"))
    expect(b"grpc-status:0" in body, body)

    message = create_request("connect").SerializeToString()
    connect = {"content_type": "application/proto", "connect_protocol_version": "1"}
    status, kind, body = mesh.http("POST", method, message, **connect)
    equal((status, kind), (200, "application/proto"))
    equal(pb.CreateSettleResponse.FromString(body).settle.out_settle_no, "connect")

    message = create_request("connect-refused", "sim-err-23102-2").SerializeToString()
    status, kind, body = mesh.http("POST", method, message, **connect)
    # Envoy has the HTTP status of an earlier version of Connect.
    equal((kind, json.loads(body)["code"]), ("application/json", "failed_precondition"))
    types = [detail["type"] for detail in json.loads(body)["details"]]
    expect("type.googleapis.com/douyin.settlement.v1.SettlementFailure" in types, types)


def a_watch_outlives_the_idle_timeout_by_its_heartbeats(mesh):
    with mesh.channel(mesh.shop) as channel:
        create(channel, "held", "sim-hold-1")
        began = time.monotonic()
        for _ in range(8):
            # One of the gateways has it; the other says NOT_FOUND.
            try:
                for event in watch(channel, "held", 1):
                    if time.monotonic() - began > 2.5 * IDLE_SECONDS:
                        break
                break
            except grpc.RpcError as error:
                equal(error.code(), grpc.StatusCode.NOT_FOUND)
        took = time.monotonic() - began
        expect(took > 2.5 * IDLE_SECONDS, f"it lived for {took:.1f} s")
        # Without heartbeats in time Envoy cuts it, and that says nothing about the settle.
        for _ in range(8):
            try:
                list(watch(channel, "held", 60))
            except grpc.RpcError as error:
                if not failure(error):
                    return
        raise AssertionError("Envoy did not cut it")


def retries_cost_douyin_no_more_than_two_sends(mesh):
    """More than callers who make one attempt at each gateway."""
    seconds = 6

    def sends(number, channels):
        before, began = mesh.books()["creates_total"], time.monotonic()
        mesh.creates_get({"refuse": 23000})
        for channel in channels:
            with channel:
                told = refused(grpc.StatusCode.UNAVAILABLE, lambda: create(channel, number))
                equal((told.outcome, told.reason), (pb.OUTCOME_UNKNOWN, "SYSTEM_ERROR"))
        # The time is what is compared: nothing happens that could be waited for.
        time.sleep(max(0, began + seconds - time.monotonic()))
        cost = mesh.books()["creates_total"] - before
        mesh.creates_get(None)
        # Once Douyin is well again, it comes to one settle.
        end = time.monotonic() + 60
        while number not in mesh.settles():
            expect(time.monotonic() < end, "the gateways do not go on with it")
            time.sleep(0.2)
        return cost

    alone = sends("alone", [mesh.channel(mesh.shop, it.port) for it in mesh.gateways])
    retried = stat(mesh, "cluster.gateway.upstream_rq_retry")
    through = sends("through", [mesh.channel(mesh.shop)])
    retried = stat(mesh, "cluster.gateway.upstream_rq_retry") - retried
    print(f"   {through} sends after {retried} retries, {alone} without", flush=True)
    expect(retried >= 2, f"Envoy retried {retried} times")
    expect(through <= alone + 2, f"{through} sends, {alone} without retries")


def stat(mesh, name):
    text = get(f"http://{mesh.admin}/stats?filter=^{name}$")
    return int(text.rpartition(":")[2])


def one_apps_trouble_ejects_no_gateway(mesh):
    with mesh.channel(mesh.shop) as channel:

        def trouble(i):
            work = lambda: create(channel, f"trouble-{i}", f"sim-err-23000-t{i}", timeout=5)
            try:
                work()
            except grpc.RpcError as error:
                return error.code()

        with futures.ThreadPoolExecutor(8) as callers:
            codes = list(callers.map(trouble, range(16)))
    equal(codes.count(None), 0)
    equal(mesh.healthy(), 2)
    equal(stat(mesh, "cluster.gateway.outlier_detection.ejections_active"), 0)


def beyond_the_rate_limit_calls_are_turned_away(mesh):
    with mesh.channel(mesh.shop) as channel:

        def get_one(_):
            request = pb.GetSettleRequest(out_settle_no="none")
            try:
                call(channel, "GetSettle", request, pb.GetSettleResponse)
            except grpc.RpcError as error:
                return error.code()

        with futures.ThreadPoolExecutor(32) as callers:
            codes = list(callers.map(get_one, range(BURST_CALLS)))
    wanted = {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.RESOURCE_EXHAUSTED}
    equal(set(codes), wanted)


CHECKS = [
    the_caller_is_the_one_of_the_certificate_and_its_trace_goes_through,
    a_stranger_gets_nowhere_whatever_it_claims,
    a_script_pays_by_json_over_http,
    json_watches_to_the_end,
    an_error_in_json_has_its_details,
    grpc_web_and_connect_in_binary_work,
    a_watch_outlives_the_idle_timeout_by_its_heartbeats,
    retries_cost_douyin_no_more_than_two_sends,
    one_apps_trouble_ejects_no_gateway,
    beyond_the_rate_limit_calls_are_turned_away,
]


if __name__ == "__main__":
    sys.exit(0 if run("mesh", CHECKS, Mesh) else 1)
