"""Three gateways on one PostgreSQL, with Envoy in front of them and the simulator behind: a replica
dies, or all of them are restarted one after the other, and callers and watchers do not notice.

Prints a line `ok - …` or `not ok - …` per check. Run by scripts/test, which sets CHECK_GATEWAY and
CHECK_ENVOY. With the argument `run` it leaves everything running and says how to try it
(scripts/replicas).
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse

from harness import ROOT, SERVICE, equal, expect, run
from harness.contract import create, pb, watch
from harness.envoy import Load, Mesh
from harness.world import APP

REPLICAS = 3
RESTARTED_AFTER_SECONDS = 10
# As published: longer than Envoy takes to notice.
DRAIN_DELAY_MS = 5_000


class Fleet(Mesh):
    def __init__(self, directory):
        script = os.path.join(ROOT, "scripts", "postgres")
        # It ends with its standard input, so with this process.
        self._postgres = subprocess.Popen(
            [script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.socket = self._postgres.stdout.readline().strip()
        expect(self.socket, "scripts/postgres started no server")
        host = urllib.parse.quote(self.socket, safe="")
        url = f"postgres://postgres@{host}/postgres"
        super().__init__(directory, gateways=REPLICAS, drain_delay_ms=DRAIN_DELAY_MS, url=url)

    def stop(self):
        super().stop()
        self._postgres.stdin.close()
        self._postgres.wait()


def a_replica_dies_and_a_watcher_on_another_one_sees_the_end(fleet):
    before = fleet.books()["creates_total"]
    with fleet.channel(fleet.shop) as channel:
        settle_id = create(channel, "held", "sim-hold-1").settle.settle_id
    dies, _ = fleet.audited("held")
    lives = next(it for it in fleet.gateways if it is not dies)
    with fleet.channel(fleet.shop, lives.port) as channel:
        events = watch(channel, "held", heartbeat_seconds=10)
        equal(next(events).settle.state, pb.SETTLE_STATE_PROCESSING)
        dies.stop(signal.SIGKILL)
        fleet.finish(settle_id)
        seen = [event.settle.state for event in events if event.HasField("settle")]
        equal(seen[-1], pb.SETTLE_STATE_SUCCEEDED)
    equal(fleet.books()["creates_total"] - before, 1)
    dies.start()
    fleet.wait_for(REPLICAS)


def callers_do_not_notice_a_replica_that_dies(fleet):
    with Load(fleet, "death") as load:
        time.sleep(1)  # so that calls are on their way
        fleet.gateways[0].stop(signal.SIGKILL)
        fleet.wait_for(REPLICAS - 1)
    equal(load.failed, [])
    expect(load.created > 10, "too few")
    # As many settles as numbers: each is there once. Of each caller one create may have been on its
    # way, and is sent again.
    equal(load.settles, load.created)
    expect(load.created <= load.sends <= load.created + len(load.callers), "too many sends")
    fleet.gateways[0].start()
    fleet.wait_for(REPLICAS)


def callers_do_not_notice_a_rolling_restart(fleet):
    with Load(fleet, "restart") as load:
        for gateway in fleet.gateways:
            equal(gateway.stop(signal.SIGTERM), 0)
            fleet.wait_for(REPLICAS - 1)
            gateway.start()
            fleet.wait_for(REPLICAS)
    equal(load.failed, [])
    expect(load.created > 50 and load.watched > 5, "too few")
    # Each is sent once: what a gateway had begun when it was told to stop, it has ended.
    equal((load.sends, load.settles), (load.created, load.created))
    # A gateway that stops ends the streams on it, and says so.
    expect(load.opened_again, "no stream met a gateway that stopped")
    equal([it for it in load.opened_again if "SERVER_DRAINING" not in it], [])


CHECKS = [
    a_replica_dies_and_a_watcher_on_another_one_sees_the_end,
    callers_do_not_notice_a_replica_that_dies,
    callers_do_not_notice_a_rolling_restart,
]


def stay():
    """Runs until it is interrupted, and starts again what was killed."""
    with tempfile.TemporaryDirectory(prefix="settlement-replicas-") as directory:
        fleet = Fleet(directory)
        try:
            fleet.wait_until_serving()
            tell(fleet)
            while True:
                time.sleep(1)
                for gateway in [it for it in fleet.gateways if it.has_ended()]:
                    wait = RESTARTED_AFTER_SECONDS
                    print(f"{gateway.name} has died; it is started again in {wait} s", flush=True)
                    time.sleep(wait)
                    gateway.start()
                    print(f"{gateway.name} is process {gateway.pid()} now", flush=True)
        except KeyboardInterrupt:
            pass
        finally:
            fleet.stop()


def tell(fleet):
    settle = {"app_id": APP, "out_settle_no": "first-1", "out_order_no": "sim-hold-1"}
    settle |= {"settle_desc": "store share"}
    asked = {"app_id": APP, "out_settle_no": "first-1"}
    certificate, key = map(os.path.basename, fleet.shop)
    grpcurl = os.environ.get("CHECK_GRPCURL", "grpcurl")
    authority = os.path.basename(fleet.authority.file)
    lines = [
        f"{gateway.name}    localhost:{gateway.port}   process {gateway.pid()}"
        for gateway in fleet.gateways
    ]
    print(f"""
Three gateways on one PostgreSQL, without money. Stop all of it with Ctrl-C.

folder       {fleet.directory}   (configuration, certificates, logs)
Envoy        localhost:{fleet.port}   (calls go through it to a gateway that lives)
{chr(10).join(lines)}
Douyin       {fleet.url}   (the simulator and its page: it ends a settle that it holds)
PostgreSQL   psql --host {fleet.socket} --username postgres

Paste these in another terminal: create a settle, watch it on one gateway, kill another one, and end
the settle on the simulator's page.

cd {fleet.directory}
call() {{ {grpcurl} -cacert {authority} -cert {certificate} -key {key} -d "$3" localhost:$1 \\
    {SERVICE}/$2; }}
call {fleet.port} CreateSettle '{json.dumps(settle)}'
call {fleet.gateways[1].port} WatchSettle '{json.dumps(asked)}' &
kill -9 {fleet.gateways[0].pid()}
call {fleet.port} GetSettle '{json.dumps(asked)}'
""", flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["run"]:
        stay()
    else:
        sys.exit(0 if run("replicas", CHECKS, Fleet) else 1)
