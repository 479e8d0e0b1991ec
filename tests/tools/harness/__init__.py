"""The real gateway with its sandbox as a process, and how a check says what is not as it should be.

For the checks beside this folder. CHECK_GATEWAY names the binary.
"""

import json
import os
import re
import subprocess
import tempfile
import threading
import time
import urllib.request

import grpc

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(__file__))))
PROTO = os.path.join(ROOT, "proto")
SERVICE = "douyin.settlement.v1.SettlementService"
HEALTH = "grpc.health.v1.Health"

GATEWAY = os.path.abspath(os.environ["CHECK_GATEWAY"])
START_SECONDS_MAX = 15
# HealthCheckResponse with the status SERVING.
SERVING = b"\x08\x01"


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
        self._printed = ""
        self.log = open(os.path.join(directory, "stderr"), "w+", encoding="utf-8")
        self.process = subprocess.Popen(
            [GATEWAY, "serve", "--sandbox", "--grpc-addr", "127.0.0.1:0"],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        self.complete = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        """Reads all that is printed; the banner is complete with how to stop."""
        for line in self.process.stdout:
            self._printed += line
            if line.startswith("Stop with"):
                self.complete.set()
        self.complete.set()

    def wait_until_serving(self):
        self.complete.wait(START_SECONDS_MAX)
        self.address = self._named(r"grpcurl .*-plaintext .*?(127\.0\.0\.1:\d+)")
        self.admin = self._named(r"admin +(127\.0\.0\.1:\d+)")
        self.callbacks = self._named(r"callbacks +(127\.0\.0\.1:\d+)")
        self.simulator = self._named(r"simulator +(http://127\.0\.0\.1:\d+)")
        end = time.monotonic() + START_SECONDS_MAX
        with grpc.insecure_channel(self.address) as channel:
            check = channel.unary_unary(f"/{HEALTH}/Check")
            while check(b"", wait_for_ready=True, timeout=START_SECONDS_MAX) != SERVING:
                expect(time.monotonic() < end, "the gateway does not serve")
                time.sleep(0.05)

    def _named(self, pattern):
        found = re.search(pattern, self._printed)
        expect(found, f"the gateway printed nothing like {pattern}: {self._printed}")
        return found.group(1)

    def printed(self):
        self.log.seek(0)
        return self._printed + self.log.read()

    def books(self):
        """What the simulator has in its books."""
        with urllib.request.urlopen(f"{self.simulator}/sim/books") as answer:
            return json.load(answer)

    def creates_get(self, script):
        """What the simulator does with every create from now on."""
        body = json.dumps({"create": script}).encode()
        with urllib.request.urlopen(f"{self.simulator}/sim/faults", body) as answer:
            json.load(answer)

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.log.close()


def the_gateway_serves(gateway):
    gateway.wait_until_serving()


def run(label, checks, start=Gateway):
    """Runs checks, functions of a gateway that is started for all of them, and prints a line
    `ok - …` or `not ok - …` for each. Answers whether all passed; if not, it also prints what the
    gateway printed."""
    with tempfile.TemporaryDirectory() as directory:
        gateway = start(directory)
        try:
            # Whatever goes wrong in one check, the others run.
            passed = _passes(label, the_gateway_serves, gateway) and all(
                [_passes(label, check, gateway) for check in checks]
            )
            if not passed:
                print(gateway.printed(), flush=True)
            return passed
        finally:
            gateway.stop()


def _passes(label, check, gateway):
    name = check.__name__.replace("_", " ")
    try:
        check(gateway)
        print(f"ok - {label}: {name}", flush=True)
        return True
    except Exception as problem:
        print(f"not ok - {label}: {name}: {problem!r}", flush=True)
        return False
