"""Each part of each alert of deploy/prometheus is played: without it, a test of promtool fails.

A part is a side of `or`, `and` or `unless`, or one of the values of a label (`why=~"full|peer"`).
It is taken out of the expression, and the alert's own tests and the quiet hour are played again.
Prints a line `ok - …` or `not ok - …` for each alert. Run by scripts/test,
with Debian's promtool.
"""

import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
RULES = os.path.join(ROOT, "deploy", "prometheus", "alerts.yaml")
TESTS = os.path.join(ROOT, "deploy", "prometheus", "alerts.test.yaml")
QUIET = "a quiet hour"


def blocks(path, begin):
    """What stands before the first block, and the blocks by their names."""
    with open(path, encoding="utf-8") as file:
        head, *rest = file.read().split(begin)
    return head, {block.split("\n", 1)[0]: begin + block for block in rest}


def around(query, at):
    """The ends of the innermost parentheses around a place, or those of the whole query."""
    depth, begin = 0, at
    while begin > 0 and depth >= 0:
        begin -= 1
        depth += {")": 1, "(": -1}.get(query[begin], 0)
    begin += depth < 0
    depth, end = 0, at
    while end < len(query):
        depth += {"(": 1, ")": -1}.get(query[end], 0)
        if depth < 0:
            break
        end += 1
    return begin, end


def without_each_part(query):
    """The query with one part less, for each part, and which one that is."""
    for found in re.finditer(r" (or|and|unless) (?:on \(\w+\) )?", query):
        begin, end = around(query, found.start())
        left, right = query[begin : found.start()], query[found.end() : end]
        kept = [(left, right)] if found[1] == "unless" else [(left, right), (right, left)]
        for side, other in kept:
            yield query[:begin] + side + query[end:], f"{found[1]} {other}"
    for found in re.finditer(r'(\w+=)~"([^"]+\|[^"]+)"', query):
        values = found[2].split("|")
        for value in values:
            others = "|".join(other for other in values if other != value)
            changed = f'{found[1]}~"{others}"'
            yield query[: found.start()] + changed + query[found.end() :], found[1] + value


def play(rule, tests, folder):
    """Whether all is as the tests expect; `None`: promtool does not understand the rule."""
    for name, text in [("alerts.yaml", rule), ("alerts.test.yaml", tests)]:
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(text)
    command = ["promtool", "test", "rules", "alerts.test.yaml"]
    played = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    said = played.stdout + played.stderr
    if played.returncode == 0:
        return True
    return False if "exp:" in said and "got:" in said else None


def unplayed_parts(rule, rules_head, tests, folder):
    """The parts that can be missing, and how many there are."""
    query = re.search(r"^ +expr: '(.*)'$", rule, re.MULTILINE)[1]
    assert play(rules_head + rule, tests, folder), query
    found, parts = [], 0
    # An alert that never fires is one that no test shows to fire.
    for changed, part in [("vector(0) > 1", "all"), *without_each_part(query)]:
        seen = play(rules_head + rule.replace(query, changed), tests, folder)
        assert seen is not None, changed
        parts += 1
        if seen:
            found.append(part)
    return found, parts


def main():
    rules_head, rules = blocks(RULES, "      - alert: ")
    tests_head, tests = blocks(TESTS, "  - name: ")
    failed, parts_of_all = 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for name, rule in rules.items():
            # What stands behind the last line of a rule are comments about the next one.
            own = [test for title, test in tests.items() if title.split(",")[0] == name]
            played = tests_head + "".join([tests[QUIET], *own])
            unplayed, parts = unplayed_parts(rule, rules_head, played, folder)
            parts_of_all += parts
            failed += bool(unplayed)
            said = f"not ok - {name}: not played: {unplayed}" if unplayed else f"ok - {name}: {parts}"
            print(said, flush=True)
    assert len(rules) > 20 and parts_of_all > len(rules) + 20, (len(rules), parts_of_all)
    return failed


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
