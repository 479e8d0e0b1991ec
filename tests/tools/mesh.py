"""deploy/envoy/envoy.yaml in the real Envoy, in front of two gateways: who a caller is, JSON,
grpc-web and Connect, idle streams, retries counted in Douyin's books, a drain and a death under
load, one app's trouble, and the rate limit.

Each gateway has a database of its own here, as if each had always answered its share of the numbers.

Prints a line `ok - …` or `not ok - …` per check. Run by scripts/test, which sets CHECK_GATEWAY and
CHECK_ENVOY.
"""

import http.client
import importlib
import json
import os
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from concurrent import futures

import grpc
from google.rpc import status_pb2

from harness import GATEWAY, PROTO, ROOT, SERVICE, equal, expect, run
from harness.world import CALLER, SIDECAR, Process, World, free_port, get

ENVOY = os.environ["CHECK_ENVOY"]
CONFIGURATION = os.path.join(ROOT, "deploy", "envoy", "envoy.yaml")
CONTRACT = "douyin/settlement/v1/settlement.proto"
DRAIN_DELAY_MS = 5_000
IDLE_SECONDS = 3
# Calls of the check for the rate limit, in one burst.
BURST, BURST_CALLS = 200, 1_000
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def stubs(directory):
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO}", f"--python_out={directory}"]
    subprocess.run([*command, CONTRACT], check=True)
    sys.path.insert(0, directory)
    return importlib.import_module("douyin.settlement.v1.settlement_pb2")


class Mesh(World):
    """Two gateways with an Envoy in front of them."""

    def __init__(self, directory):
        super().__init__(directory, gateways=2, drain_delay_ms=DRAIN_DELAY_MS)
        self.port, self.admin = free_port(), f"127.0.0.1:{free_port()}"
        self.client = self.authority.issue("client", f"URI:{SIDECAR}")
        self.shop = self.authority.issue("shop", f"URI:{CALLER}")
        self.stranger = self.authority.issue("stranger", "URI:spiffe://example.com/stranger")
        described = os.path.join(directory, "settlement.binpb")
        with open(described, "wb") as file:
            subprocess.run([GATEWAY, "descriptor"], check=True, stdout=file)
        config = self._configuration(described)
        path = os.path.join(directory, "envoy.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(config)
        options = ["--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning"]
        self.envoy = Process([ENVOY, "-c", path, *options], directory, "envoy")

    def _configuration(self, described):
        """The published file, with this machine's files and ports, and with shorter times."""
        with open(CONFIGURATION, encoding="utf-8") as file:
            text = file.read()
        endpoint = (
            "- endpoint:\n"
            "                  address: { socket_address: { address: %s, port_value: %d } }"
        )
        (first, second) = (endpoint % ("127.0.0.1", it.port) for it in self.gateways)
        host, port = self.admin.split(":")
        for old, new in [
            ("127.0.0.1, port_value: 9901", f"{host}, port_value: {port}"),
            ("0.0.0.0, port_value: 8443", f"127.0.0.1, port_value: {self.port}"),
            (endpoint % ("settlement-gateway", 50051), f"{first}\n              {second}"),
            ("/etc/envoy/tls/server.pem", self.server[0]),
            ("/etc/envoy/tls/server-key.pem", self.server[1]),
            ("/etc/envoy/tls/client.pem", self.client[0]),
            ("/etc/envoy/tls/client-key.pem", self.client[1]),
            ("/etc/envoy/tls/callers-ca.pem", self.authority.file),
            ("/etc/envoy/tls/gateway-ca.pem", self.authority.file),
            ("/etc/envoy/settlement.binpb", described),
            ("stream_idle_timeout: 25s", f"stream_idle_timeout: {IDLE_SECONDS}s"),
            ("max_tokens: 2000, tokens_per_fill: 1000", f"max_tokens: {BURST}, tokens_per_fill: 100"),
        ]:
            equal((old, text.count(old)), (old, 1))
            text = text.replace(old, new)
        return text

    def wait_until_serving(self):
        super().wait_until_serving()
        end = time.monotonic() + 15
        while True:
            try:
                if self.healthy() == 2:
                    return
            except OSError:
                pass
            expect(time.monotonic() < end, f"Envoy finds no gateway: {self.envoy.printed()}")
            time.sleep(0.1)

    def healthy(self):
        """How many gateways Envoy sends calls to."""
        return get(f"http://{self.admin}/clusters").count("health_flags::healthy")

    def channel(self, identity, port=None):
        """A channel of the caller with this certificate, through Envoy or to a gateway's port."""
        with open(self.authority.file, "rb") as ca, open(identity[0], "rb") as certificate:
            with open(identity[1], "rb") as key:
                tls = grpc.ssl_channel_credentials(ca.read(), key.read(), certificate.read())
        options = [("grpc.enable_retries", 0)]
        return grpc.secure_channel(f"localhost:{port or self.port}", tls, options)

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

    def printed(self):
        return super().printed() + self.envoy.printed()

    def stop(self):
        self.envoy.stop()
        super().stop()


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


def refused(code, work):
    """The SettlementFailure of a call that ends with this code; `None` if Envoy made the error."""
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


def the_caller_is_the_one_of_the_certificate_and_its_trace_goes_through(mesh):
    with mesh.channel(mesh.shop) as channel:
        traced = [("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01")]
        create(channel, "identity", metadata=traced)
    lines = [line for it in mesh.gateways for line in it.audited()]
    (line,) = [line for line in lines if line.get("number") == "identity"]
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
    def watch(seconds):
        request = pb.WatchSettleRequest(out_settle_no="held")
        request.heartbeat_interval.FromSeconds(seconds)
        path = f"/{SERVICE}/WatchSettle"
        encode, decode = type(request).SerializeToString, pb.WatchSettleResponse.FromString
        return channel.unary_stream(path, encode, decode)(request, timeout=30)

    with mesh.channel(mesh.shop) as channel:
        create(channel, "held", "sim-hold-1")
        began = time.monotonic()
        for _ in range(8):
            # One of the gateways has it; the other says NOT_FOUND.
            try:
                for event in watch(1):
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
                list(watch(60))
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


class Load:
    """Callers who create one settle after the other, and remember what failed."""

    def __init__(self, mesh, label):
        self._mesh, self._label, self._over = mesh, label, threading.Event()
        self.made, self.failed = 0, []
        self._threads = [threading.Thread(target=self._run, args=(i,)) for i in range(4)]

    def _run(self, caller):
        with self._mesh.channel(self._mesh.shop) as channel:
            i = 0
            while not self._over.wait(0.1):
                i += 1
                try:
                    create(channel, f"{self._label}-{caller}-{i}")
                    self.made += 1
                except grpc.RpcError as error:
                    self.failed.append(f"{error.code()} {error.details()}")

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        for thread in self._threads:
            thread.join()


def wait_for(mesh, count):
    end = time.monotonic() + 20
    while mesh.healthy() != count:
        expect(time.monotonic() < end, f"{mesh.healthy()} gateways are in use, not {count}")
        time.sleep(0.1)


def a_gateway_drains_and_comes_back_without_a_failed_call(mesh):
    first = mesh.gateways[0]
    with Load(mesh, "drain") as load:
        equal(first.stop(signal.SIGTERM), 0)
        wait_for(mesh, 1)
        first.start()
        wait_for(mesh, 2)
    expect(load.made > 50, f"{load.made} calls")
    equal(load.failed, [])


def a_gateway_that_dies_costs_no_caller_a_call(mesh):
    """Calls that the dead gateway had taken are made again at the other one."""
    first = mesh.gateways[0]
    with Load(mesh, "death") as load:
        time.sleep(1)  # so that calls are on their way
        first.stop(signal.SIGKILL)
        wait_for(mesh, 1)
        first.start()
        wait_for(mesh, 2)
    equal(load.failed, [])
    settles = [it["out_settle_no"] for it in mesh.books()["settles"]]
    equal(len(settles), len(set(settles)))


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
    a_gateway_drains_and_comes_back_without_a_failed_call,
    a_gateway_that_dies_costs_no_caller_a_call,
    beyond_the_rate_limit_calls_are_turned_away,
]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as generated:
        pb = stubs(generated)
        sys.exit(0 if run("mesh", CHECKS, Mesh) else 1)
