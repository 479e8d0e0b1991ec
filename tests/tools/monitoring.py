"""A real Prometheus scrapes the gateway through a mixed run, and answers what the dashboard asks.

Prints a line `ok - …` or `not ok - …` per check; fails on anything unexpected. Run by scripts/test
and, for longer, by scripts/soak, which set CHECK_GATEWAY, with a Python that has grpcio, where
Debian's Prometheus is installed. MIXED_SECONDS is how long the run takes; what the gateway shows at
its end goes into the file that MIXED_METRICS names.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

import grpc

from harness import ROOT, SERVICE, equal, expect, run

# The app of a sandbox.
APP = "ttsandbox0000000001"
RUN_SECONDS = int(os.environ.get("MIXED_SECONDS", "25"))
METRICS_FILE = os.environ.get("MIXED_METRICS")
SCRAPE_SECONDS = 1
ANSWER_SECONDS_MAX = 20

# What a sandbox has not: certificates, and other replicas on its store.
WITHOUT = [
    "settlement_certificate_end_timestamp_seconds",
    "settlement_replicas",
    "settlement_foreign_sends",
    "settlement_hints",
]
# A sandbox says that it is one.
WARNED_OF = {"SettlementRehearsal"}


def text(number, value):
    """A field of a message, as protobuf writes texts; all of them are short here."""
    data = value.encode()
    expect(len(data) < 128, value)
    return bytes([number << 3 | 2, len(data)]) + data


def create_request(number, order):
    fields = {3: order, 4: number, 5: "store share"}
    return b"".join(text(name, value) for name, value in fields.items())


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@contextlib.contextmanager
def prometheus(gateway):
    """Scrapes the gateway every second; yields its address."""
    expect(shutil.which("prometheus"), "there is no prometheus")
    with open(os.path.join(ROOT, "deploy/prometheus/prometheus.yaml"), encoding="utf-8") as file:
        config = file.read()
    rules = os.path.join(ROOT, "deploy/prometheus/alerts.yaml")
    for was, becomes in [
        ("15s", f"{SCRAPE_SECONDS}s"),
        ("alerts.yaml", rules),
        ("127.0.0.1:9090", gateway.admin),
    ]:
        expect(was in config, was)
        config = config.replace(was, becomes)
    with tempfile.TemporaryDirectory() as directory:
        with open(os.path.join(directory, "config.yaml"), "w", encoding="utf-8") as file:
            file.write(config)
        address = f"127.0.0.1:{free_port()}"
        process = subprocess.Popen(
            [
                "prometheus",
                "--config.file=config.yaml",
                "--storage.tsdb.path=data",
                f"--web.listen-address={address}",
                "--log.level=warn",
            ],
            cwd=directory,
        )
        try:
            yield address
        finally:
            process.kill()
            process.wait()


def ask(address, path, **query):
    url = f"http://{address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
    end = time.monotonic() + ANSWER_SECONDS_MAX
    while True:
        try:
            with urllib.request.urlopen(url, timeout=ANSWER_SECONDS_MAX) as answer:
                answer = json.load(answer)
                equal(answer["status"], "success")
                return answer["data"]
        except urllib.error.HTTPError as wrong:
            expect(wrong.code == 503, f"{query}: {wrong.read()}")
        except urllib.error.URLError:
            pass
        expect(time.monotonic() < end, f"no answer to {url}")
        time.sleep(0.2)


def mixed_run(gateway):
    """What callers, Douyin and a stranger do in a usual minute."""
    end, turn = time.monotonic() + RUN_SECONDS, 0
    callback = f"http://{gateway.callbacks}/callbacks/douyin/{APP}"
    with grpc.insecure_channel(gateway.address) as channel:

        def call(method, request):
            try:
                channel.unary_unary(f"/{SERVICE}/{method}")(request, timeout=10)
            except grpc.RpcError as failed:
                expect(failed.code() != grpc.StatusCode.INTERNAL, failed)

        while time.monotonic() < end:
            turn += 1
            number = f"mixed-{turn}"
            order = {3: "sim-err-23102-1", 5: "sim-fail-1"}.get(turn % 7, f"order-{turn}")
            call("CreateSettle", create_request(number, order))
            watch = channel.unary_stream(f"/{SERVICE}/WatchSettle")
            with contextlib.suppress(grpc.RpcError):
                for _ in watch(text(3, number), timeout=10):
                    pass
            # refresh
            call("GetSettle", text(3, number) + bytes([5 << 3, 1]))
            call("QuerySettles", text(5, number))
            call("WaitSettle", text(3, number))
            call("ListSettles", b"")
            call("GetSettle", text(3, "unknown"))
            forged = urllib.request.Request(callback, b"{}", method="POST")
            with contextlib.suppress(urllib.error.HTTPError):
                urllib.request.urlopen(forged, timeout=10).close()
            time.sleep(0.05)
    expect(turn > 7, f"only {turn} turns")
    return turn


def queries():
    with open(
        os.path.join(ROOT, "deploy/grafana/settlement-gateway.json"), encoding="utf-8"
    ) as file:
        dashboard = json.load(file)
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"].replace("$instance", ".*")
            yield panel["title"], query.replace("$__rate_interval", f"{RUN_SECONDS}s")


def the_dashboard_and_the_rules_are_answered(gateway):
    with prometheus(gateway) as address:
        ask(address, "query", query="up")
        turns = mixed_run(gateway)
        asked, empty = 0, []
        for title, query in queries():
            expect("$" not in query, query)
            asked += 1
            found = ask(address, "query", query=query)["result"]
            if not found and not any(name in query for name in WITHOUT):
                empty.append((title, query))
        equal(empty, [])
        expect(asked > 50, f"only {asked} queries")
        groups = ask(address, "rules")["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        expect(len(rules) > 20, rules)
        equal([rule for rule in rules if rule["health"] != "ok"], [])
        alerts = {alert["labels"]["alertname"] for alert in ask(address, "alerts")["alerts"]}
        equal(alerts - WARNED_OF, set())
        print(f"   {turns} turns in {RUN_SECONDS} s, {asked} queries answered", flush=True)
    if METRICS_FILE:
        with urllib.request.urlopen(f"http://{gateway.admin}/metrics") as shown:
            text = shown.read()
        with open(METRICS_FILE, "wb") as file:
            file.write(text)


if __name__ == "__main__":
    sys.exit(0 if run("monitoring", [the_dashboard_and_the_rules_are_answered]) else 1)
