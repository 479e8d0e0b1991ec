"""Clients of Douyin that others wrote use the simulator, with Douyin's hosts redirected to it:
ByteDance's own SDK for Node.js (npm's @open-dy/open_api_sdk, which has the general system), and PyPI's
`bytedance`, which has every system, signs requests and verifies callbacks. What they take for granted
about Douyin is a third reading of its documents, after the gateway's and the simulator's.

Prints a line `ok - …` or `not ok - …` per check; fails on anything unexpected. Run by scripts/test,
which sets CHECK_GATEWAY (with `simulate`), CHECK_NODE and CHECK_FOREIGN_MODULES, with a Python that has
bytedance, requests and cryptography.
"""

import contextlib
import http.server
import json
import os
import queue
import re
import subprocess
import sys
import threading
import time
import urllib.request

import bytedance
from bytedance.base import ByteDanceError
from bytedance.security import CallbackTools

from harness import GATEWAY, START_SECONDS_MAX, equal, expect, run

APP = "ttforeign000000001"
SECRET = "not-a-secret"
# What the simulator's apps have that were given none of their own.
SALT, CALLBACK_TOKEN = "sandbox-salt", "sandbox-token"
HOSTS = ["https://open.douyin.com", "https://developer.toutiao.com"]
NODE_CLIENT = os.path.join(os.path.dirname(__file__), "clients", "foreign", "settle.cjs")
WAIT_SECONDS_MAX = 20
RECEIVERS = json.dumps([{"merchant_uid": "72789245768543296350", "amount": 400}])


class Receiver:
    """The developer's address: keeps what arrives, and acknowledges it."""

    def __init__(self):
        arrived = self.arrived = queue.Queue()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                arrived.put((body, dict(self.headers)))
                answer = json.dumps(CallbackTools.acknowledgement()).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/callbacks"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Simulator:
    """`simulate` as a process, and the clients that are pointed at it."""

    def __init__(self, directory):
        self.directory, self.receiver = directory, Receiver()
        self.log = open(os.path.join(directory, "log"), "w+", encoding="utf-8")
        apps = ["--app", f"{APP}={SECRET}", "--callback-url", f"{APP}={self.receiver.url}"]
        command = [GATEWAY, "simulate", "--listen", "127.0.0.1:0", "--seed", "7", *apps]
        self.process = subprocess.Popen(
            command, cwd=directory, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log
        )

    def wait_until_serving(self):
        end, found = time.monotonic() + START_SECONDS_MAX, None
        while not found:
            expect(time.monotonic() < end, "the simulator does not serve")
            time.sleep(0.05)
            found = re.search(r"address +(http://127\.0\.0\.1:\d+)", self.printed())
        self.url = found.group(1)
        self.client = bytedance.ByteDance(
            app_id=APP,
            app_secret=SECRET,
            access_token_type="file",
            ac_path=os.path.join(self.directory, "token"),
            api_domains={host: self.url for host in HOSTS},
            private_key=self.get("/sim/app-key"),
            payment_salt=SALT,
            callback_token=CALLBACK_TOKEN,
        )
        # A client of its own: with this key, one expects signed answers too.
        self.verifier = bytedance.ByteDance(
            app_id=APP,
            app_secret=SECRET,
            access_token_type="file",
            ac_path=os.path.join(self.directory, "token"),
            platform_public_key=self.get(f"/sim/platform-key/{APP}"),
            callback_token=CALLBACK_TOKEN,
        )

    def get(self, path):
        with urllib.request.urlopen(f"{self.url}{path}") as answer:
            return answer.read().decode()

    def books(self, text):
        return json.loads(self.get(f"/sim/books?find={text}"))

    def change(self, path, body):
        request = urllib.request.Request(f"{self.url}{path}", json.dumps(body).encode())
        with urllib.request.urlopen(request) as answer:
            answer.read()

    def printed(self):
        with open(self.log.name, encoding="utf-8") as log:
            return log.read()

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()
        self.receiver.server.shutdown()


def wanted(number, order, mark):
    return {
        "out_settle_no": number,
        "out_order_no": order,
        "settle_desc": "store share",
        "settle_params": RECEIVERS,
        mark: "ours",
    }


@contextlib.contextmanager
def refused(*numbers):
    try:
        yield
    except ByteDanceError as error:
        expect(error.code in numbers, f"{error.code}: {error}")
    else:
        expect(False, "it was not refused")


def settles(simulator, system, create, query, mark):
    """One settle from its create to its end, a repeat, and a refusal, in one system."""
    create(wanted(f"{system}-1", f"order-{system}", mark))
    [row] = simulator.books(f"{system}-1")["settles"]
    equal((row["system"], row["amount_fen"], row["cp_extra"]), (system, 100_000, "ours"))
    end = time.monotonic() + WAIT_SECONDS_MAX
    while (found := query({"out_settle_no": f"{system}-1"}))["settle_status"] != "SUCCESS":
        expect(time.monotonic() < end, f"{found} does not end")
        time.sleep(0.1)
    equal((found["settle_amount"], found["cp_extra"]), (100_000, "ours"))
    return found


def callback(simulator, system, protocol):
    """The callback of that settle, verified by the other's code; a changed one is not believed."""
    while True:
        body, headers = simulator.receiver.arrived.get(timeout=WAIT_SECONDS_MAX)
        if f"{system}-1" in body.decode():
            break
    told = simulator.verifier.callbacks.parse(body, headers, protocol)
    equal((told["type"], told["parsed_msg"]["status"]), ("settle", "SUCCESS"))
    with refused(None):
        simulator.verifier.callbacks.parse(body.replace(b"SUCCESS", b"FAILURE"), headers, protocol)
    return told


def the_general_system_by_bytedances_own_sdk(simulator):
    # Of an answer that is not 200, it tells the status only.
    simulator.change("/sim/choices", {"business_status": 200})
    environment = {**os.environ, "NODE_PATH": os.environ["CHECK_FOREIGN_MODULES"]}
    command = [os.environ["CHECK_NODE"], NODE_CLIENT, simulator.url, APP, SECRET]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    expect(done.returncode == 0, done.stderr)
    said = json.loads(done.stdout)
    [row] = simulator.books("node-1")["settles"]
    equal(said["created"]["settle_id"], row["settle_id"])
    equal(said["created"]["wallet_settle_id"], row["wallet_settle_id"])
    [found] = said["found"]
    equal((found["settle_id"], found["settle_status"]), (row["settle_id"], "SUCCESS"))
    equal((found["out_order_no"], found["cp_extra"]), ("order-node", "ours"))
    expect("23111" in said["repeated"], said["repeated"])


def the_general_system(simulator):
    calls = simulator.client.payment.trade_system.general.trade_settle
    settles(
        simulator, "general", calls.settle_create, lambda key: calls.settle_query(key)["data"][0], "ext"
    )
    with refused(23111):
        calls.settle_create(wanted("general-1", "order-general", "ext"))
    equal(callback(simulator, "general", "trade")["version"], "3.0")


def the_self_operated_system(simulator):
    calls = simulator.client.locallife.general_ability.self_operated_trading.settlement
    query = lambda key: calls.query_settle(key)["data"][0]
    found = settles(simulator, "self_operated", calls.init_settle, query, "cp_extra")
    expect(found["settle_time"] > 1_600_000_000_000, found)
    # Its parent code; the number is the sub code.
    with refused(2191009):
        calls.init_settle(wanted("self_operated-1", "order-self_operated", "cp_extra"))
    equal(callback(simulator, "self_operated", "trade")["version"], "2.0")


def the_industry_system(simulator):
    calls = simulator.client.payment.trade_system.trading.settlement
    query = lambda key: calls.query_settle(key)["data"][0]
    found = settles(simulator, "industry", calls.create_settle, query, "cp_extra")
    equal(found["inner_settle_id"], simulator.books("industry-1")["settles"][0]["wallet_settle_id"])
    with refused(23111):
        calls.create_settle(wanted("industry-1", "order-industry", "cp_extra"))
    equal(callback(simulator, "industry", "trade")["version"], "2.0")


def the_agency_system(simulator):
    calls = simulator.client.locallife.general_ability.agency_trade_system.settlement
    [found] = calls.query_settle({"out_order_no": "order-agency"})["data"]
    [row] = simulator.books("order-agency")["settles"]
    equal((row["system"], row["settle_id"]), ("agency", found["settle_id"]))


def guaranteed_payment(simulator):
    calls = simulator.client.payment.ecpay.settlements
    left = lambda: calls.unsettle_amount({"out_order_no": "order-guaranteed"})["data"]
    equal(left()["unsettle_amount"], 99_400)
    query = lambda key: calls.query(key)["settle_info"]
    found = settles(simulator, "guaranteed", calls.settlement, query, "cp_extra")
    again = calls.settlement(wanted("guaranteed-1", "order-guaranteed", "cp_extra"))
    equal(again["settle_no"], found["settle_no"])
    expect(abs(found["settled_at"] - time.time()) < 60, found)
    equal(left()["unsettle_amount"], 0)
    with refused(2000):
        calls.query({"out_settle_no": "unknown"})
    told = callback(simulator, "guaranteed", "ecpay")["parsed_msg"]
    equal((told["cp_settle_no"], told["settle_no"]), ("guaranteed-1", found["settle_no"]))


def what_guaranteed_payment_settles_by_itself(simulator):
    rules = {"automatic_settlement": True}
    simulator.change("/sim/apps", {"app_id": APP, "rules": rules})
    calls = simulator.client.payment.ecpay.settlements
    with refused(2014):
        calls.settlement(wanted("by-itself", "order-by-itself", "cp_extra"))
    body, headers = simulator.receiver.arrived.get(timeout=WAIT_SECONDS_MAX)
    while b"settle_finish" not in body:
        body, headers = simulator.receiver.arrived.get(timeout=WAIT_SECONDS_MAX)
    told = simulator.verifier.callbacks.parse(body, headers, "ecpay")["parsed_msg"]
    equal((told["ma_app_id"], told["out_order_id"]), (APP, "order-by-itself"))
    asked = {"out_order_no": "order-by-itself", "query_type": 1}
    [settle] = calls.auto_settle.query(asked)["platform_order"]["settle_info_list"]
    equal(settle["settle_no"], told["auto_settle_list"][0]["settle_no"])


if __name__ == "__main__":
    CHECKS = [
        the_general_system_by_bytedances_own_sdk,
        the_general_system,
        the_self_operated_system,
        the_industry_system,
        the_agency_system,
        guaranteed_payment,
        what_guaranteed_payment_settles_by_itself,
    ]
    sys.exit(not run("foreign clients", CHECKS, Simulator))
