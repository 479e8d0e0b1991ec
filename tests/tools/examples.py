"""The programs in examples/ make payments at a gateway with TLS and tokens: payments that succeed,
fail, are refused and lose Douyin's first answer, and one in the course of which the gateway is
stopped and started again, and killed and started again. Then `conformance` judges them, and a naive
client that it must find wrong.

Prints a line `ok - …` or `not ok - …` per program and payment. Run by scripts/test, which sets
CHECK_GATEWAY, CHECK_BUF, CHECK_GRPCURL, CHECK_NODE, CHECK_NODE_MODULES, CHECK_GO and CHECK_RUST.
With CONFORMANCE=all each program is judged in every scenario (scripts/soak), else in one.
"""

import contextlib
import glob
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
from concurrent import futures

import grpc

from harness import PROTO, ROOT, conformance, equal, expect, run
from harness.world import World, get

EXAMPLES = os.path.join(ROOT, "examples")
CONTRACT = "douyin/settlement/v1/settlement.proto"
SERVICE_CONFIG = os.path.join(ROOT, "docs", "service-config.json")
PAGE = os.path.join(ROOT, "docs", "calling.md")
NAIVE = os.path.join(ROOT, "tests", "tools", "clients", "naive.py")

BUILD_SECONDS_MAX = 600
PAYMENT_SECONDS_MAX = 90
# Two cores, and most of a payment is waiting.
BUILDS_AT_ONCE, PAYMENTS_AT_ONCE = 2, 6

# What the order's number makes of the payment: the exit code and how the output begins. A number
# may have 64 bytes of any text.
PAYMENTS = {
    "order": (0, "SUCCEEDED 100000"),
    "sim-lost": (0, "SUCCEEDED 100000"),
    "sim-fail": (0, "FAILED 100000"),
    # Its creates have a deadline of two seconds, and Douyin answers after three.
    "sim-slow": (0, "SUCCEEDED 100000"),
    "sim-err-23102-单单单单单单": (1, "REFUSED ORDER_NOT_PAID"),
}
HELD = (0, "SUCCEEDED 100000")
STRANGER = (1, "NOT_SENT UNAUTHENTICATED")


def done(command, **options):
    options["env"] = {**os.environ, **options.get("env", {})}
    ran = subprocess.run(
        command, capture_output=True, text=True, timeout=BUILD_SECONDS_MAX, **options
    )
    expect(ran.returncode == 0, f"{command[0]}: {ran.stdout[-3000:]}{ran.stderr[-3000:]}")
    return ran.stdout


def generate(directory):
    """All that buf.gen.yaml makes, below gen/."""
    plugins = os.path.join(os.environ["CHECK_NODE_MODULES"], ".bin")
    node = os.path.dirname(os.environ["CHECK_NODE"])
    path = os.pathsep.join([plugins, node, os.environ["PATH"]])
    done([os.environ["CHECK_BUF"], "generate", "-o", directory], cwd=ROOT, env={"PATH": path})


# Each builds a program and answers its command and environment. `gen` has what buf has made.


def python_with(gen, program):
    out = os.path.join(gen, f"python-{program}")
    os.makedirs(out)
    stubs = [f"-I{PROTO}", f"--python_out={out}", f"--grpc_python_out={out}", CONTRACT]
    done([sys.executable, "-m", "grpc_tools.protoc", *stubs])
    return [sys.executable, os.path.join(EXAMPLES, "python", program)], {"PYTHONPATH": out}


def python(gen):
    return python_with(gen, "pay.py")


def python_asyncio(gen):
    return python_with(gen, "pay_async.py")


def javascript(_gen):
    program = os.path.join(EXAMPLES, "javascript", "pay.js")
    modules = os.environ["CHECK_NODE_MODULES"]
    return [os.environ["CHECK_NODE"], program], {"NODE_PATH": modules}


def typescript(gen):
    # Node looks for modules beside the program.
    folder = os.path.join(gen, "typescript-program")
    shutil.copytree(os.path.join(EXAMPLES, "typescript"), folder)
    os.symlink(os.path.join(gen, "typescript"), os.path.join(folder, "gen"))
    modules = os.environ["CHECK_NODE_MODULES"]
    os.symlink(modules, os.path.join(gen, "node_modules"))
    compiler = os.path.join(modules, "typescript", "bin", "tsc")
    done([os.environ["CHECK_NODE"], compiler, "--project", folder])
    return [os.environ["CHECK_NODE"], os.path.join(folder, "pay.ts")], {}


def java(gen):
    netty = ["buffer", "codec", "codec-http", "codec-http2", "common", "handler", "resolver"]
    jars = [
        *["grpc-api", "grpc-context", "grpc-core", "grpc-netty", "grpc-protobuf", "grpc-stub"],
        *["grpc-protobuf-lite", "gson", "guava", "opencensus-api", "perfmark-api", "protobuf"],
        *["protobuf-util", "geronimo-annotation-1.3-spec", "netty-tcnative"],
        *[f"netty-{part}" for part in [*netty, "transport"]],
    ]
    classes, sources = os.path.join(gen, "classes"), os.path.join(gen, "java")
    path = ":".join([classes, *[f"/usr/share/java/{jar}.jar" for jar in jars]])
    program = os.path.join(EXAMPLES, "java", "Pay.java")
    # Only what the program uses is compiled.
    done(["javac", "-nowarn", "-cp", path, "-sourcepath", sources, "-d", classes, program])
    # Debian's Netty has TLS for HTTP/2 by OpenSSL only, and looks for it under this name.
    native = os.path.join(gen, "native")
    os.mkdir(native)
    (library,) = glob.glob("/usr/lib/*/jni/libnetty-tcnative.so")
    shutil.copy(library, os.path.join(native, "libnetty_tcnative.so"))
    options = ["-XX:TieredStopAtLevel=1", f"-Djava.library.path={native}"]
    return ["java", *options, "-cp", path, "Pay"], {}


def go(gen):
    # Debian's sources are a GOPATH; only the standard library's files are Go's own.
    workspace, program = os.path.join(gen, "go-workspace"), os.path.join(gen, "pay-go")
    os.mkdir(workspace)
    os.symlink(os.path.join(gen, "go"), os.path.join(workspace, "src"))
    settings = {
        "GO111MODULE": "off",
        "GOPATH": f"{workspace}:/usr/share/gocode",
        "GOFLAGS": "",
        "CGO_ENABLED": "0",
    }
    source = os.path.join(EXAMPLES, "go", "pay.go")
    done([os.environ["CHECK_GO"], "build", "-o", program, source], env=settings)
    return [program], {}


def cpp(gen):
    sources, program = os.path.join(gen, "cpp"), os.path.join(gen, "pay-cpp")
    used = ["douyin/settlement/v1/settlement.pb.cc", "douyin/settlement/v1/settlement.grpc.pb.cc"]
    used += ["google/rpc/status.pb.cc"]
    used += [os.path.relpath(it, sources) for it in glob.glob(f"{sources}/google/api/*.pb.cc")]
    libraries = done(["pkg-config", "--libs", "grpc++", "protobuf"]).split()
    compile_one = ["c++", "-std=c++17", "-O0", "-I", sources]
    done(
        [
            *compile_one,
            *[os.path.join(sources, it) for it in used],
            os.path.join(EXAMPLES, "cpp", "pay.cc"),
            *["-o", program, *libraries],
        ]
    )
    return [program], {}


def ruby(gen):
    stubs = os.path.join(gen, "ruby")
    return ["ruby", "-I", stubs, os.path.join(EXAMPLES, "ruby", "pay.rb")], {}


def rust(_gen):
    return [os.path.abspath(os.environ["CHECK_RUST"])], {}


def shell(_gen):
    path = f"{os.path.dirname(os.environ['CHECK_GRPCURL'])}{os.pathsep}{os.environ['PATH']}"
    return [os.path.join(EXAMPLES, "shell", "pay.sh")], {"PATH": path}


PROGRAMS = [cpp, java, go, typescript, python, python_asyncio, javascript, ruby, rust, shell]


# Where each program is judged in scripts/test. Those that start slowly play what has few courses.
JUDGED = {
    cpp: "refuse",
    java: "rotate",
    go: "busy",
    typescript: "slow",
    python: "lost",
    python_asyncio: "restart",
    javascript: "slow",
    ruby: "busy",
    rust: "lost",
    shell: "rotate",
}
# Where a naive client pays more than once. In the other one, another number happens to be allowed.
PAID_AGAIN = ["rotate", "busy", "slow", "lost", "restart"]


class Payment:
    """One run of a program."""

    def __init__(self, program, address, order, settle, settings):
        command, environment = built[program]
        settings = {
            "GATEWAY_TOKEN": "",
            "SERVICE_CONFIG": SERVICE_CONFIG,
            "CREATE_SECONDS": "2" if order.startswith("sim-slow") else "25",
            **settings,
        }
        self._process = subprocess.Popen(
            [*command, address, order, settle],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **environment, **settings},
        )

    @staticmethod
    def at(world, program, order, settle, token=None):
        """One at the gateway of this world."""
        settings = {"GATEWAY_TOKEN": token or world.token, "GATEWAY_CA": world.authority.file}
        address = f"localhost:{world.gateways[0].port}"
        return Payment(program, address, order, settle, settings)

    def ended(self):
        """The exit code and what was printed."""
        try:
            printed, _ = self._process.communicate(timeout=PAYMENT_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            printed, _ = self._process.communicate()
            return "no end", printed
        # Languages print the names of states with their prefix or without.
        return self._process.returncode, printed.replace("SETTLE_STATE_", "")


# Of each program that is built: how it is run. Of each payment: how it ended. Of each scenario: how
# a program was judged.
built, seen, judged = {}, {}, {}


def begin_builds(gen):
    generate(gen)
    pool = futures.ThreadPoolExecutor(BUILDS_AT_ONCE)
    return {program: pool.submit(program, os.path.join(gen, "gen")) for program in PROGRAMS}


def build_of(program, build):
    def check(_world):
        built[program] = build.result()

    check.__name__ = f"{program.__name__} is built"
    return check


def the_payments_are_made(world):
    def pay(program, order):
        name = program.__name__
        token = "a-strangers" if order == "stranger" else None
        payment = Payment.at(world, program, f"{order}-{name}", f"分账-{order[:13]}-{name}", token)
        seen[program, order] = payment.ended()

    pool = futures.ThreadPoolExecutor(PAYMENTS_AT_ONCE)
    with pool:
        for order in [*PAYMENTS, "stranger"]:
            for program in built:
                pool.submit(pay, program, order)


def the_gateway_is_stopped_and_killed_while_they_watch(world):
    """Both times once each of them watches."""
    (gateway,) = world.gateways
    payments = {}
    for program in built:
        name = program.__name__
        payments[program] = Payment.at(world, program, f"sim-hold-{name}", f"held-{name}")

    def watches():
        with contextlib.suppress(urllib.error.URLError):
            metrics = get(f"http://{gateway.admin}/metrics")
            open_ones = re.search(r"^settlement_watches_open (\d+)$", metrics, re.MULTILINE)
            return int(open_ones.group(1)) if open_ones else 0
        # It is starting.
        return 0

    try:
        for how in [signal.SIGTERM, signal.SIGKILL, None]:
            end = time.monotonic() + PAYMENT_SECONDS_MAX
            while watches() < len(payments):
                expect(time.monotonic() < end, f"{watches()} watch: {gateway.printed()}")
                time.sleep(0.1)
            if how is not None:
                gateway.stop(how)
                gateway.start()
    finally:
        for settle in world.settles().values():
            if settle["out_settle_no"].startswith("held-"):
                world.finish(settle["settle_id"])
        for program, payment in payments.items():
            seen[program, "held"] = payment.ended()


def payment_of(program, order, wanted):
    def check(world):
        expect((program, order) in seen, "it was not made")
        code, printed = seen[program, order]
        expect(
            code == wanted[0] and wanted[1] in printed, f"wanted {wanted}, got {code}: {printed}"
        )

    check.__name__ = f"{program.__name__} {order}"
    return check


def deadline_of(program):
    def check(world):
        about = [f'"分账-sim-slow-{program.__name__}"', '"CreateSettle"']
        lines = world.gateways[0].printed().splitlines()
        lines = [line for line in lines if all(it in line for it in about)]
        # Where the client's clock was first, the caller hears DEADLINE_EXCEEDED without details.
        ends = ['"DEADLINE_REACHED"', '"its caller hung up"']
        reached = any(end in line for line in lines for end in ends)
        expect(reached, f"no deadline was reached: {lines}")

    check.__name__ = f"{program.__name__} went on after a deadline"
    return check


def every_program_decodes_every_detail(world):
    """Made up with every kind of detail, and the gateway's own about 10,000 wrong receivers."""
    sys.path.insert(0, built[python][1]["PYTHONPATH"])
    from harness import details

    wanted = {"every-kind": "REFUSED EVERY_KIND", "violations": "NOT_SENT INVALID_REQUEST"}
    with open(world.authority.file, "rb") as authorities:
        tls = grpc.ssl_channel_credentials(authorities.read())
    address = f"localhost:{world.gateways[0].port}"
    with grpc.secure_channel(address, tls) as channel:
        violations = details.of_violations(channel, world.token)
        statuses = {"every-kind": details.every_kind(), "violations": violations}
        with details.served(statuses, channel) as port:
            address = f"127.0.0.1:{port}"
            for order in statuses:
                payments = {it: Payment(it, address, order, f"{order}-1", {}) for it in built}
                for program, payment in payments.items():
                    code, printed = payment.ended()
                    told = f"{program.__name__} of {order}: {code}: {printed}"
                    expect(code == 1 and wanted[order] in printed, told)


def conformance_judges(_world):
    everything = os.environ.get("CONFORMANCE") == "all"
    runs = [
        (program.__name__, command, {**environment, "SERVICE_CONFIG": SERVICE_CONFIG}, scenario)
        for program, (command, environment) in built.items()
        for scenario in (conformance.SCENARIOS if everything else [JUDGED[program]])
    ]
    _, environment = built[python]
    naive = [sys.executable, NAIVE]
    # Those of the naive client take longest.
    naive = [("naive", naive, environment, scenario) for scenario in conformance.SCENARIOS]
    runs = naive[::-1] + runs
    began = time.monotonic()
    judged.update(conformance.play(runs))
    print(f"   {len(runs)} runs of conformance in {time.monotonic() - began:.0f} s", flush=True)


def every_program_conforms(_world):
    ours = {key: run for key, run in judged.items() if key[0] != "naive"}
    equal({name for name, _ in ours}, {program.__name__ for program in PROGRAMS})
    for (name, scenario), (code, printed) in ours.items():
        expect(code == 0, f"{name} in {scenario}: {printed}")


def a_naive_client_is_seen_to_pay_more_than_once(_world):
    for scenario in conformance.SCENARIOS:
        code, printed = judged["naive", scenario]
        again = scenario in PAID_AGAIN
        told = re.search(r"PAID \d+ TIMES", printed) is not None
        expect((code, told) == (int(again), again), f"{scenario}: {printed}")


def each_payment_was_made_once(world):
    """In Douyin's books there is one settle for each number, and no other."""
    settles = [it["out_settle_no"] for it in world.books()["settles"]]
    equal(len(settles), len(set(settles)))
    # One is refused, and one is held.
    equal(len(settles), len(built) * len(PAYMENTS))


def the_page_shows_what_is_in_the_program(_world):
    with open(PAGE, encoding="utf-8") as page:
        blocks = re.findall(r"^```python\n(.*?)^```$", page.read(), re.DOTALL | re.MULTILINE)
    with open(os.path.join(EXAMPLES, "python", "pay.py"), encoding="utf-8") as file:
        program = file.read()
    expect(blocks, "the page has no such block")
    for block in blocks:
        expect(block.strip("\n") in program, f"not in the program: {block}")


def main():
    with tempfile.TemporaryDirectory() as gen:
        builds = begin_builds(gen)
        cases = {**PAYMENTS, "stranger": STRANGER, "held": HELD}
        checks = [
            *[build_of(program, build) for program, build in builds.items()],
            the_payments_are_made,
            the_gateway_is_stopped_and_killed_while_they_watch,
            *[
                payment_of(program, order, wanted)
                for program in PROGRAMS
                for order, wanted in cases.items()
            ],
            *[deadline_of(program) for program in PROGRAMS],
            each_payment_was_made_once,
            every_program_decodes_every_detail,
            conformance_judges,
            every_program_conforms,
            a_naive_client_is_seen_to_pay_more_than_once,
            the_page_shows_what_is_in_the_program,
        ]
        return 0 if run("examples", checks, World) else 1


if __name__ == "__main__":
    sys.exit(main())
