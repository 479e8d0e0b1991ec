"""Calls the gateway with a client that honours docs/service-config.json, through a mesh that
retries, too, and counts in the simulator what that costs Douyin.

Prints a line `ok - …` or `not ok - …` per check; fails on anything unexpected. Run by scripts/test,
which sets CHECK_GATEWAY, with a Python that has grpcio.
"""

import contextlib
import json
import os
import sys
import threading
import time
from concurrent import futures

import grpc

from harness import ROOT, SERVICE, Unexpected, equal, expect, run

END_SECONDS_MAX = 60

# What many meshes do with a call that fails or does not answer in time.
MESH_ATTEMPTS = 4
MESH_TRY_SECONDS = 0.25

# What all of them may cost Douyin beyond what the gateway does by itself.
SENDS_MAX = 2

with open(os.path.join(ROOT, "docs", "service-config.json"), encoding="utf-8") as published:
    CONFIG = published.read()


def text(number, value):
    """A field of a message, as protobuf writes texts; all of them are short here."""
    data = value.encode()
    expect(len(data) < 128, value)
    return bytes([number << 3 | 2, len(data)]) + data


def create_request(number):
    fields = {3: f"order-of-{number}", 4: number, 5: "store share"}
    return b"".join(text(name, value) for name, value in fields.items())


class Handler(grpc.GenericRpcHandler):
    """Answers the calls of the service, and no others: the client asks for its health as well, and
    takes a server that does not know that call for healthy."""

    def service(self, details):
        ours = details.method.startswith(f"/{SERVICE}/")
        return self.handler(details.method) if ours else None


class Mesh(Handler):
    """A proxy that makes up to four attempts of each call, and gives each a quarter of a second."""

    def __init__(self, address):
        self.channel = grpc.insecure_channel(address, [("grpc.enable_retries", 0)])
        self.calls = self.attempts = 0
        self.lock = threading.Lock()

    def handler(self, method):
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: self._forward(method, request, context)
        )

    def _forward(self, method, request, context):
        with self.lock:
            self.calls += 1
        forward = self.channel.unary_unary(method)
        for _ in range(MESH_ATTEMPTS):
            with self.lock:
                self.attempts += 1
            try:
                return forward(request, timeout=MESH_TRY_SECONDS)
            except grpc.RpcError as failed:
                if failed.code() not in (
                    grpc.StatusCode.UNAVAILABLE,
                    grpc.StatusCode.DEADLINE_EXCEEDED,
                ):
                    context.abort(failed.code(), failed.details())
        # As Envoy says it: without a word about the money.
        context.abort(grpc.StatusCode.UNAVAILABLE, "upstream request timeout")


@contextlib.contextmanager
def served(handler):
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    server.add_generic_rpc_handlers([handler])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


@contextlib.contextmanager
def client(address):
    """A channel that honours the published service config."""
    with grpc.insecure_channel(address, [("grpc.service_config", CONFIG)]) as channel:
        yield channel


def attempts_of(method):
    for entry in json.loads(CONFIG)["methodConfig"]:
        if {"service": SERVICE, "method": method} in entry["name"]:
            return entry["retryPolicy"]["maxAttempts"]
    raise Unexpected(f"{method} is not in the service config")


def create(channel, number):
    return channel.unary_unary(f"/{SERVICE}/CreateSettle")(create_request(number))


def sends(gateway):
    return gateway.books()["creates_total"]


def settles_of(gateway, number):
    return [it for it in gateway.books()["settles"] if it["out_settle_no"] == number]


def becomes_one_settle(gateway, number):
    """Once Douyin is well again, the gateway goes on by itself, and no copy was another settle."""
    gateway.creates_get(None)
    end = time.monotonic() + END_SECONDS_MAX
    while not settles_of(gateway, number):
        expect(time.monotonic() < end, "the gateway does not go on with it")
        time.sleep(0.2)
    with client(gateway.address) as channel:
        create(channel, number)
    equal(len(settles_of(gateway, number)), 1)


def no_create_is_accepted(channel, number):
    try:
        create(channel, number)
        raise Unexpected("Douyin cannot have accepted it")
    except grpc.RpcError as failed:
        equal(failed.code(), grpc.StatusCode.UNAVAILABLE)


def twenty_attempts(gateway, number, script):
    """The sends that they cost, and the time that they took."""
    before, began = sends(gateway), time.monotonic()
    gateway.creates_get(script)
    mesh = Mesh(gateway.address)
    with served(mesh) as address, client(address) as channel:
        no_create_is_accepted(channel, number)
    took, cost = time.monotonic() - began, sends(gateway) - before
    equal((mesh.calls, mesh.attempts), (attempts_of("CreateSettle"), 20))
    becomes_one_settle(gateway, number)
    return cost, took


def one_attempt(gateway, number, script, seconds):
    """The sends that the gateway makes in this time without repeats."""
    before, began = sends(gateway), time.monotonic()
    gateway.creates_get(script)
    with grpc.insecure_channel(gateway.address, [("grpc.enable_retries", 0)]) as channel:
        no_create_is_accepted(channel, number)
        # The time is what is compared: nothing happens that could be waited for.
        time.sleep(max(0, began + seconds - time.monotonic()))
    cost = sends(gateway) - before
    becomes_one_settle(gateway, number)
    return cost


def twenty_attempts_at_a_douyin_that_does_not_answer_cost_two_sends(gateway):
    cost, took = twenty_attempts(gateway, "twenty", "hang")
    print(f"   20 attempts in {took:.1f} s, {cost} sends", flush=True)
    expect(1 <= cost <= SENDS_MAX, f"{cost} sends in {took:.1f} s")


def a_lost_answer_costs_two_sends_and_the_caller_hears_ok(gateway):
    before = sends(gateway)
    gateway.creates_get({"apply-then": "drop"})
    with served(Mesh(gateway.address)) as address, client(address) as channel:
        create(channel, "lost")
    gateway.creates_get(None)
    equal(sends(gateway) - before, SENDS_MAX)
    equal(len(settles_of(gateway, "lost")), 1)


def twenty_attempts_at_a_douyin_that_fails_at_once_cost_two_sends_more_than_one(gateway):
    cost, took = twenty_attempts(gateway, "failing", {"refuse": 23000})
    alone = one_attempt(gateway, "alone", {"refuse": 23000}, took)
    print(f"   in {took:.1f} s: 20 attempts {cost} sends, 1 attempt {alone} sends", flush=True)
    # The gateway goes on by itself; what is beyond that is what the repeats cost.
    expect(SENDS_MAX <= alone, f"{alone} sends")
    expect(cost - alone <= SENDS_MAX, f"{cost} sends, and {alone} without repeats")


class Streams(Handler):
    """A server whose streams break: some before their first message, and one after it."""

    def __init__(self, breaks_before):
        self.breaks_before, self.opened = breaks_before, 0

    def handler(self, _method):
        return grpc.unary_stream_rpc_method_handler(self._watch)

    def _watch(self, _request, context):
        self.opened += 1
        if self.opened <= self.breaks_before:
            context.abort(grpc.StatusCode.UNAVAILABLE, "before the first message")
        yield b""
        context.abort(grpc.StatusCode.UNAVAILABLE, "after the first message")


def a_stream_is_opened_again_before_its_first_message_and_never_after_it(_gateway):
    streams = Streams(breaks_before=2)
    seen = []
    with served(streams) as address, client(address) as channel:
        stream = channel.unary_stream(f"/{SERVICE}/WatchSettle")(b"")
        try:
            seen.extend(stream)
            raise Unexpected("the stream ended well")
        except grpc.RpcError as failed:
            equal(failed.details(), "after the first message")
    # Two broken openings, and the third stream's one message.
    equal((streams.opened, len(seen)), (3, 1))


def each_rpc_is_retried_as_often_as_the_config_says(_gateway):
    class Down(Handler):
        calls = 0

        def handler(self, _method):
            return grpc.unary_unary_rpc_method_handler(self._down)

        def _down(self, _request, context):
            Down.calls += 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "down")

    for method in ["CreateSettle", "WaitSettle", "GetSettle", "QuerySettles", "ListSettles"]:
        Down.calls = 0
        with served(Down()) as address, client(address) as channel:
            try:
                channel.unary_unary(f"/{SERVICE}/{method}")(b"")
                raise Unexpected("the call succeeded")
            except grpc.RpcError as failed:
                equal(failed.code(), grpc.StatusCode.UNAVAILABLE)
        equal((method, Down.calls), (method, attempts_of(method)))


def a_call_ends_when_its_time_in_the_config_is_over(_gateway):
    class Silent(Handler):
        def handler(self, _method):
            return grpc.unary_unary_rpc_method_handler(lambda _request, _context: over.wait())

    def took(method):
        began = time.monotonic()
        try:
            channel.unary_unary(f"/{SERVICE}/{method}")(b"")
            raise Unexpected("the call succeeded")
        except grpc.RpcError as failed:
            equal(failed.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        return time.monotonic() - began

    over = threading.Event()
    wanted = {"ListSettles": 10, "GetSettle": 15, "QuerySettles": 15}
    with served(Silent()) as address, client(address) as channel:
        with futures.ThreadPoolExecutor() as callers:
            for method, seconds in zip(wanted, callers.map(took, wanted)):
                expect(abs(seconds - wanted[method]) < 2, f"{method} took {seconds:.1f} s")
        over.set()


CHECKS = [
    a_lost_answer_costs_two_sends_and_the_caller_hears_ok,
    twenty_attempts_at_a_douyin_that_does_not_answer_cost_two_sends,
    twenty_attempts_at_a_douyin_that_fails_at_once_cost_two_sends_more_than_one,
    a_stream_is_opened_again_before_its_first_message_and_never_after_it,
    each_rpc_is_retried_as_often_as_the_config_says,
    a_call_ends_when_its_time_in_the_config_is_over,
]


if __name__ == "__main__":
    sys.exit(0 if run("retries", CHECKS) else 1)
