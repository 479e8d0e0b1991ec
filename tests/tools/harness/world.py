"""Gateways as in production, but for the money: TLS, callers with tokens and certificates, and a
simulator that outlives them. A gateway can be stopped, killed and started again at its address.
"""

import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.request

import grpc

from . import GATEWAY, HEALTH, SERVING, START_SECONDS_MAX, expect

APP = "ttsandbox0000000001"
SECRET = "the-sandbox-has-no-secrets"
CALLER = "spiffe://example.com/shop"
SIDECAR = "spiffe://example.com/ingress"
STOP_SECONDS_MAX = 40


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(url):
    with urllib.request.urlopen(url) as answer:
        return answer.read().decode()


class Authority:
    """Issues certificates, by openssl."""

    def __init__(self, directory):
        self.directory = directory
        self.file = self._made("ca", ["-addext", "basicConstraints=critical,CA:TRUE"])

    def issue(self, name, *alternative_names):
        """The files of a certificate and its key."""
        issuer = ["-CA", self.file, "-CAkey", self.key_of("ca")]
        names = ["-addext", f"subjectAltName={','.join(alternative_names)}"]
        usage = ["-addext", "basicConstraints=CA:FALSE"]
        return self._made(name, [*issuer, *names, *usage]), self.key_of(name)

    def key_of(self, name):
        return os.path.join(self.directory, f"{name}-key.pem")

    def _made(self, name, options):
        file = os.path.join(self.directory, f"{name}.pem")
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        out = ["-keyout", self.key_of(name), "-out", file, "-days", "2", "-subj", f"/CN={name}"]
        command = ["openssl", "req", "-x509", *key, *out, *options]
        subprocess.run(command, check=True, capture_output=True)
        return file


class Process:
    """A process whose output is kept."""

    def __init__(self, command, directory, name, **environment):
        path = os.path.join(directory, f"{name}.log")
        self._log = open(path, "a+", encoding="utf-8")
        self._process = subprocess.Popen(
            command,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env={**os.environ, **environment},
        )

    def printed(self):
        with open(self._log.name, encoding="utf-8") as log:
            return log.read()

    def named(self, pattern):
        """What the process prints in the place of the pattern's group, once it does."""
        end = time.monotonic() + START_SECONDS_MAX
        while not (found := re.search(pattern, self.printed())):
            alive = self._process.poll() is None and time.monotonic() < end
            expect(alive, f"it printed nothing like {pattern}: {self.printed()}")
            time.sleep(0.05)
        return found.group(1)

    def pid(self):
        return self._process.pid

    def has_ended(self):
        return self._process.poll() is not None

    def stop(self, how=signal.SIGKILL):
        """Ends it and answers its exit code."""
        self._process.send_signal(how)
        code = self._process.wait(STOP_SECONDS_MAX)
        self._log.close()
        return code


class World:
    """A simulator, and one gateway or several, each with a database of its own, or all on the
    PostgreSQL at `url`."""

    def __init__(self, directory, gateways=1, drain_delay_ms=0, url=None):
        self.directory = directory
        self.authority = Authority(directory)
        names = ["DNS:localhost", "DNS:settlement-gateway", "IP:127.0.0.1"]
        self.server = self.authority.issue("server", *names)
        self.token, known = _new_token()
        self.simulator = Process(
            [GATEWAY, "simulate", "--listen", "127.0.0.1:0"], directory, "simulator"
        )
        self.url = self.simulator.named(r"address +(http://127\.0\.0\.1:\d+)")
        self.gateways = [
            Gateway(self, f"gateway-{i}", known, drain_delay_ms, url) for i in range(gateways)
        ]
        # One database is made once.
        for gateway in self.gateways[: 1 if url else None]:
            gateway.init()
        for gateway in self.gateways:
            gateway.start()

    def wait_until_serving(self):
        for gateway in self.gateways:
            gateway.wait_until_serving()

    def books(self):
        return json.loads(get(f"{self.url}/sim/books"))

    def settles(self):
        """The settles in the simulator's books, by their number."""
        return {settle["out_settle_no"]: settle for settle in self.books()["settles"]}

    def finish(self, settle_id):
        """Ends a settle that Douyin holds."""
        self._told("finish", {"settle_id": settle_id, "status": "SUCCESS"})

    def creates_get(self, script):
        """What the simulator does with every create from now on."""
        self._told("faults", {"create": script})

    def _told(self, what, body):
        with urllib.request.urlopen(f"{self.url}/sim/{what}", json.dumps(body).encode()) as answer:
            answer.read()

    def printed(self):
        return "\n".join(gateway.printed() for gateway in self.gateways)

    def stop(self):
        for gateway in self.gateways:
            gateway.stop()
        self.simulator.stop()


class Gateway:
    """One gateway of a world."""

    def __init__(self, world, name, known, drain_delay_ms, url):
        self.directory, self.name = os.path.join(world.directory, name), name
        os.mkdir(self.directory)
        self.port, self._process, self._ca = free_port(), None, world.authority.file
        self.admin = f"127.0.0.1:{free_port()}"
        self.audit = os.path.join(self.directory, "audit")
        certificate, key = world.server
        store, douyin = f'sqlite_path = "{self.directory}/settlement.db"', ""
        settle, budget = "", ""
        if url:
            # What a dead replica worked on is taken up after the lease, which is short here.
            store, settle = f'url = "{url}"', "lease_ms = 4_000\nvisibility_grace_ms = 2_500"
            budget = "requests_per_second = 200"  # divided among all that live
            douyin = "connect_timeout_ms = 500\nattempt_timeout_ms = 700\ncall_timeout_ms = 1_500"
        self._configuration = os.path.join(self.directory, "gateway.toml")
        with open(self._configuration, "w", encoding="utf-8") as file:
            file.write(
                f"""
                rehearsal = true
                default_app = "{APP}"
                [server]
                grpc_addr = "127.0.0.1:{self.port}"
                grpc_tls_certificate_file = "{certificate}"
                grpc_tls_key_file = "{key}"
                grpc_client_ca_file = "{world.authority.file}"
                sidecar_names = ["{SIDECAR}"]
                admin_addr = "{self.admin}"
                audit_to = "{self.audit}"
                drain_delay_ms = {drain_delay_ms}
                [store]
                {store}
                [douyin]
                base_url = "{world.url}"
                {douyin}
                [settle]
                {settle}
                poll_first_ms = 200
                poll_watched_cap_ms = 500
                [[apps]]
                app_id = "{APP}"
                client_secret_env = "DOUYIN_CLIENT_SECRET"
                {budget}
                [[callers]]
                name = "shop"
                apps = ["{APP}"]
                rights = ["create", "read"]
                token_sha256 = ["{known}"]
                certificate_names = ["{CALLER}"]
                """
            )

    def init(self):
        command = [GATEWAY, "init", "--config", self._configuration]
        subprocess.run(command, check=True, capture_output=True, cwd=self.directory)

    def start(self):
        command = [GATEWAY, "serve", "--config", self._configuration]
        secret = {"DOUYIN_CLIENT_SECRET": SECRET}
        self._process = Process(command, self.directory, self.name, **secret)

    def wait_until_serving(self):
        with open(self._ca, "rb") as authorities:
            tls = grpc.ssl_channel_credentials(authorities.read())
        end = time.monotonic() + START_SECONDS_MAX
        with grpc.secure_channel(f"localhost:{self.port}", tls) as channel:
            check = channel.unary_unary(f"/{HEALTH}/Check")
            while check(b"", wait_for_ready=True, timeout=START_SECONDS_MAX) != SERVING:
                expect(time.monotonic() < end, "the gateway does not serve")
                time.sleep(0.05)

    def audited(self):
        """The lines of the audit."""
        with open(self.audit, encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def printed(self):
        return self._process.printed()

    def pid(self):
        return self._process.pid()

    def has_ended(self):
        return self._process.has_ended()

    def stop(self, how=signal.SIGKILL):
        return self._process.stop(how)


def _new_token():
    """A token, and the hash by which the configuration knows it."""
    made = subprocess.run([GATEWAY, "new-token"], check=True, capture_output=True, text=True)
    token = made.stdout.split()[0]
    return token, re.search(r'token_sha256 = \["(\w+)"\]', made.stdout).group(1)
