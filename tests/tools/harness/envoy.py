"""The published Envoy configuration (deploy/envoy) in the real Envoy, in front of the gateways of a
world. CHECK_ENVOY names the binary.
"""

import os
import subprocess
import threading
import time

import grpc

from . import GATEWAY, ROOT, equal, expect
from .contract import call, create_request, failure, pb, watch
from .world import CALLER, SIDECAR, Process, World, free_port, get

ENVOY = os.environ["CHECK_ENVOY"]
# A watcher gives up after so many streams.
STREAMS_MAX = 100
CONFIGURATION = os.path.join(ROOT, "deploy", "envoy", "envoy.yaml")

with open(os.path.join(ROOT, "docs", "service-config.json"), encoding="utf-8") as published:
    SERVICE_CONFIG = published.read()


class Mesh(World):
    """Gateways with an Envoy in front of them. `changes`: pairs of what the published file says and
    what stands there instead."""

    def __init__(self, directory, changes=(), **world):
        super().__init__(directory, **world)
        self.port, self.admin = free_port(), f"127.0.0.1:{free_port()}"
        self.client = self.authority.issue("client", f"URI:{SIDECAR}")
        self.shop = self.authority.issue("shop", f"URI:{CALLER}")
        described = os.path.join(directory, "settlement.binpb")
        with open(described, "wb") as file:
            subprocess.run([GATEWAY, "descriptor"], check=True, stdout=file)
        path = os.path.join(directory, "envoy.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(self._configuration(described, changes))
        options = ["--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning"]
        self.envoy = Process([ENVOY, "-c", path, *options], directory, "envoy")

    def _configuration(self, described, changes):
        """The published file, with this machine's files and ports."""
        with open(CONFIGURATION, encoding="utf-8") as file:
            text = file.read()
        endpoint = (
            "- endpoint:\n"
            "                  address: { socket_address: { address: %s, port_value: %d } }"
        )
        endpoints = [endpoint % ("127.0.0.1", it.port) for it in self.gateways]
        host, port = self.admin.split(":")
        for old, new in [
            ("127.0.0.1, port_value: 9901", f"{host}, port_value: {port}"),
            ("0.0.0.0, port_value: 8443", f"127.0.0.1, port_value: {self.port}"),
            (endpoint % ("settlement-gateway", 50051), "\n              ".join(endpoints)),
            ("/etc/envoy/tls/server.pem", self.server[0]),
            ("/etc/envoy/tls/server-key.pem", self.server[1]),
            ("/etc/envoy/tls/client.pem", self.client[0]),
            ("/etc/envoy/tls/client-key.pem", self.client[1]),
            ("/etc/envoy/tls/callers-ca.pem", self.authority.file),
            ("/etc/envoy/tls/gateway-ca.pem", self.authority.file),
            ("/etc/envoy/settlement.binpb", described),
            *changes,
        ]:
            equal((old, text.count(old)), (old, 1))
            text = text.replace(old, new)
        return text

    def wait_until_serving(self):
        super().wait_until_serving()
        self.wait_for(len(self.gateways))

    def healthy(self):
        """How many gateways Envoy sends calls to."""
        return get(f"http://{self.admin}/clusters").count("health_flags::healthy")

    def wait_for(self, count):
        """Waits until Envoy sends calls to so many gateways."""
        end, found = time.monotonic() + 20, None
        while found != count:
            expect(time.monotonic() < end, f"{found} gateways are in use, not {count}")
            time.sleep(0.1)
            try:
                found = self.healthy()
            except OSError:
                found = None

    def audited(self, number):
        """The gateway that answered the create of this number, and what its audit says of it. The
        line may be written after the answer."""
        end = time.monotonic() + 5
        while True:
            for gateway in self.gateways:
                for line in gateway.audited():
                    if line.get("number") == number:
                        return gateway, line
            expect(time.monotonic() < end, f"no gateway has audited {number}")
            time.sleep(0.05)

    def channel(self, identity, port=None, has_service_config=False):
        """A channel of the caller with this certificate, through Envoy or to a gateway's port. A
        caller without the published service config makes one attempt."""
        with open(self.authority.file, "rb") as ca, open(identity[0], "rb") as certificate:
            with open(identity[1], "rb") as key:
                tls = grpc.ssl_channel_credentials(ca.read(), key.read(), certificate.read())
        options = [("grpc.enable_retries", 0)]
        if has_service_config:
            options = [("grpc.service_config", SERVICE_CONFIG)]
        return grpc.secure_channel(f"localhost:{port or self.port}", tls, options)

    def printed(self):
        return super().printed() + self.envoy.printed()

    def stop(self):
        self.envoy.stop()
        super().stop()


class Load:
    """Callers with the published service config who make one call after the other, and what failed
    of it: some create, read and ask Douyin, some create and watch to the end, and some watch one
    settle that Douyin holds until the load is over."""

    def __init__(self, mesh, label):
        self._mesh, self._label, self._over = mesh, label, threading.Event()
        # The unary calls that were OK, the creates among them, the watches that came to the end, and
        # the streams that the contract lets a caller open again.
        self.calls, self.created, self.watched, self.opened_again = 0, 0, 0, []
        self.failed = []
        self._lock = threading.Lock()
        works = [self._pay] * 3 + [self._follow] * 2
        self.callers = [
            threading.Thread(target=self._work, args=(work, i)) for i, work in enumerate(works)
        ]
        self._watchers = [threading.Thread(target=self._watch_held) for _ in range(2)]

    def _channel(self):
        return self._mesh.channel(self._mesh.shop, has_service_config=True)

    def _work(self, work, caller):
        turn = 0
        with self._channel() as channel:
            while not self._over.wait(0.1):
                turn += 1
                work(channel, f"{self._label}-{caller}-{turn}")

    def _pay(self, channel, number):
        if self._call(channel, "CreateSettle", create_request(number), pb.CreateSettleResponse):
            get = pb.GetSettleRequest(out_settle_no=number)
            self._call(channel, "GetSettle", get, pb.GetSettleResponse)
            query = pb.QuerySettlesRequest(out_settle_no=number)
            self._call(channel, "QuerySettles", query, pb.QuerySettlesResponse)

    def _follow(self, channel, number):
        if self._call(channel, "CreateSettle", create_request(number), pb.CreateSettleResponse):
            self._watch(channel, number)

    def _watch_held(self):
        with self._channel() as channel:
            self._watch(channel, f"{self._label}-held")

    def _call(self, channel, method, request, answer):
        """The answer; `None` if it failed. The service config has the deadline."""
        try:
            answered = call(channel, method, request, answer, timeout=None)
        except grpc.RpcError as error:
            self._note(self.failed, f"{method}: {error.code()} {error.details()}")
            return None
        with self._lock:
            self.calls += 1
            self.created += method == "CreateSettle"
        return answered

    def _watch(self, channel, number):
        """As the contract says: a stream that breaks is opened again, after what was told."""
        after_revision, state = 0, None
        for _ in range(STREAMS_MAX):
            told = False
            try:
                for event in watch(channel, number, after_revision=after_revision, timeout=120):
                    told = True
                    if event.HasField("settle"):
                        after_revision, state = event.settle.revision, event.settle.state
                break
            except grpc.RpcError as error:
                # Before its first message it is the library and Envoy who try again.
                kept = self.opened_again if told else self.failed
                told = failure(error)
                reason = told.reason if told else None
                self._note(kept, f"WatchSettle: {error.code()} {reason} {error.details()}")
        if state == pb.SETTLE_STATE_SUCCEEDED:
            with self._lock:
                self.watched += 1
        else:
            self._note(self.failed, f"{number} ended with {state}")

    def _note(self, where, what):
        with self._lock:
            where.append(what)

    def __enter__(self):
        books = self._mesh.books()
        self._before = books["creates_total"], books["settles_total"]
        with self._channel() as channel:
            request = create_request(f"{self._label}-held", f"sim-hold-{self._label}")
            held = self._call(channel, "CreateSettle", request, pb.CreateSettleResponse)
        expect(held, self.failed)
        self._held = held.settle.settle_id
        for thread in self.callers + self._watchers:
            thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        for thread in self.callers:
            thread.join()
        self._mesh.finish(self._held)
        for thread in self._watchers:
            thread.join()
        books, (sends, settles) = self._mesh.books(), self._before
        self.sends, self.settles = books["creates_total"] - sends, books["settles_total"] - settles
        print(
            f"   {self.calls} calls, {self.created} creates and {self.watched} watches among them,"
            f" {len(self.failed)} failed, {len(self.opened_again)} streams opened again;"
            f" {self.sends} sends, {self.settles} settles at Douyin",
            flush=True,
        )
