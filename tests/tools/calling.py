"""The code that docs/calling.md shows is code that runs: each of its blocks is in the program of its
language, and those programs (clients/python/pay.py, clients/go/pay) make payments with the outcomes
that the page speaks of.

Prints a line `ok - …` or `not ok - …` per check. Run by scripts/test, which sets CHECK_GATEWAY and
CHECK_GO.
"""

import os
import re
import sys
import tempfile

from clients import CLIENTS, CONTRACT, build_go, compile_for_python, done
from harness import ROOT, equal, expect, run

PAGE = os.path.join(ROOT, "docs", "calling.md")
PROGRAMS = {
    "python": os.path.join(CLIENTS, "python", "pay.py"),
    "go": os.path.join(CLIENTS, "go", "pay", "main.go"),
}
PAYMENT_SECONDS_MAX = 60

# The beginning of the order's number, which chooses what the simulator does, and what is printed: the
# state, the amount and whether another number is permitted, or why there is no settle.
PAYMENTS = [
    ("order", "settle_state_succeeded 100000 false"),
    ("sim-lost", "settle_state_succeeded 100000 false"),
    ("sim-fail", "settle_state_failed 100000 true"),
    ("sim-err-23102", "refused order_not_paid"),
]


def python(directory):
    out = [f"--python_out={directory}", f"--grpc_python_out={directory}"]
    compile_for_python(*out, CONTRACT)
    return [sys.executable, PROGRAMS["python"]], {"PYTHONPATH": directory}


def go(directory):
    return build_go(directory, PROGRAMS["go"], "plugins=grpc:"), {}


def checks_of(language):
    name = language.__name__

    def the_page_shows_what_is_in_the_program(_gateway):
        with open(PAGE, encoding="utf-8") as page, open(PROGRAMS[name], encoding="utf-8") as file:
            blocks = re.findall(rf"^```{name}\n(.*?)^```$", page.read(), re.DOTALL | re.MULTILINE)
            program = file.read()
        expect(blocks, "the page has no such block")
        for block in blocks:
            expect(block.strip("\n") in program, f"not in the program: {block}")

    def payments_end_as_the_page_says(gateway):
        with tempfile.TemporaryDirectory() as directory:
            program, settings = language(directory)
            for order, wanted in PAYMENTS:
                number = f"{name}-{order}"
                arguments = [gateway.address, f"{order}-{name}", number]
                printed = done([*program, *arguments], PAYMENT_SECONDS_MAX, env=settings)
                equal((order, printed.strip().lower()), (order, wanted))
                made = [it for it in gateway.books()["settles"] if it["out_settle_no"] == number]
                equal((order, len(made)), (order, 0 if wanted.startswith("refused") else 1))
            printed = done([*program, gateway.address, "", "x"], PAYMENT_SECONDS_MAX, env=settings)
            equal(printed.strip(), "NeedsChange INVALID_REQUEST")

    return [the_page_shows_what_is_in_the_program, payments_end_as_the_page_says]


if __name__ == "__main__":
    passed = [run(f"calling in {it.__name__}", checks_of(it)) for it in [python, go]]
    sys.exit(0 if all(passed) else 1)
