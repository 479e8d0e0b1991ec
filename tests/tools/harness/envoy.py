"""The published Envoy configuration (deploy/envoy) in the real Envoy, in front of the gateways of a
world. CHECK_ENVOY names the binary.
"""

import os
import subprocess
import threading
import time

import grpc

from . import GATEWAY, ROOT, equal, expect
from .contract import create
from .world import CALLER, SIDECAR, Process, World, free_port, get

ENVOY = os.environ["CHECK_ENVOY"]
CONFIGURATION = os.path.join(ROOT, "deploy", "envoy", "envoy.yaml")


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

    def channel(self, identity, port=None):
        """A channel of the caller with this certificate, through Envoy or to a gateway's port."""
        with open(self.authority.file, "rb") as ca, open(identity[0], "rb") as certificate:
            with open(identity[1], "rb") as key:
                tls = grpc.ssl_channel_credentials(ca.read(), key.read(), certificate.read())
        options = [("grpc.enable_retries", 0)]
        return grpc.secure_channel(f"localhost:{port or self.port}", tls, options)

    def printed(self):
        return super().printed() + self.envoy.printed()

    def stop(self):
        self.envoy.stop()
        super().stop()


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
