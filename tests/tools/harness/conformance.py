"""Runs `settlement-gateway conformance` with a client program, scenarios side by side."""

import os
import shlex
import subprocess
from concurrent import futures

from . import GATEWAY

SCENARIOS = ["rotate", "busy", "slow", "refuse", "lost", "restart"]
SECONDS_MAX = 900
# Each is a gateway with its clients, most of which wait.
AT_ONCE = 6


def _run(command, environment, scenario):
    arguments = ' "$GATEWAY_ADDRESS" "$OUT_ORDER_NO" "$OUT_SETTLE_NO"'
    client = shlex.join(command) + arguments
    ran = subprocess.run(
        [GATEWAY, "conformance", "--client", client, "--scenario", scenario],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS_MAX,
        env={**os.environ, "GATEWAY_TOKEN": "", **environment},
    )
    return ran.returncode, ran.stdout


def play(runs):
    """Of each run, a name, a command, its environment and a scenario: the exit code and what was
    printed, by name and scenario."""
    with futures.ThreadPoolExecutor(AT_ONCE) as pool:
        ended = {
            (name, scenario): pool.submit(_run, command, environment, scenario)
            for name, command, environment, scenario in runs
        }
    return {key: run.result() for key, run in ended.items()}
