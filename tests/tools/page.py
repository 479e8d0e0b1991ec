"""Looks at the simulator's page in a real browser, and clicks and types there, while the real
gateway makes settles.

Prints a line `ok - …` or `not ok - …` per check. Run by scripts/test, which sets CHECK_GATEWAY and
CHECK_GRPCURL; the browser is `chromium`, and without it the run fails.
"""

import json
import os
import subprocess
import sys
import tempfile

from harness import SERVICE, equal, expect, run
from harness.browser import Browser

WIDTH, HEIGHT = 1440, 900
NARROW = 420
CALL_SECONDS_MAX = 10
# What grpcurl adds to the gRPC code to make its exit code; the code of an order that is not paid.
GRPCURL_EXIT, FAILED_PRECONDITION = 64, 9

# The longest numbers that Douyin takes.
LONG_SETTLE = "settle-" + "0123456789-" * 5 + "ab"
LONG_ORDER = "order-0" + "0123456789-" * 5 + "ab"
MARKUP = "订单<img src=x onerror=alert(1)>"

# The words that do not stand in one line. What ends a word is a space, or a Chinese character.
BROKEN_WORDS = r"""
(() => {
  const broken = [], range = document.createRange();
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode;
    for (const word of text.data.matchAll(/[^\s\p{Script=Han}]+/gu)) {
      range.setStart(text, word.index);
      range.setEnd(text, word.index + word[0].length);
      const lines = new Set([...range.getClientRects()].map((box) => Math.round(box.bottom)));
      if (lines.size > 1) {
        broken.push(word[0]);
      }
    }
  }
  return broken;
})()
"""

# The options that their select box has no room for.
CUT_OPTIONS = """
(() => {
  const pen = document.createElement("canvas").getContext("2d");
  return [...document.querySelectorAll("select")].flatMap((field) => {
    const style = getComputedStyle(field), arrow = 20;
    const room = field.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    pen.font = style.font;
    return [...field.options].map((option) => option.text)
      .filter((text) => pen.measureText(text).width > room - arrow);
  });
})()
"""

# Chooses every option there is; the first that the page does not show as chosen, if there is one.
REFUSED_OPTION = """
(async () => {
  for (const field of document.querySelectorAll("#faults select, #token select, #choices select")) {
    const [first, ...others] = [...field.options].map((option) => option.value);
    for (const value of [...others, first]) {
      field.value = value;
      field.dispatchEvent(new Event("change"));
      for (let looks = 0; field.kept !== value; looks += 1) {
        if (looks > 500) {
          return `${field.name}: ${value}`;
        }
        await new Promise((later) => setTimeout(later, 10));
      }
    }
  }
  return null;
})()
"""


class Page:
    """The checks, in their order: each finds what those before it have left."""

    def __init__(self, browser):
        self.browser = browser

    def checks(self):
        return [
            self.the_page_opens,
            self.a_settle_appears_by_itself_with_its_receivers_and_amounts,
            self.a_fault_that_is_chosen_meets_the_next_create,
            self.errors_appear_until_they_are_dismissed,
            self.an_order_is_made_and_its_number_is_text,
            self.what_is_looked_for_is_found,
            self.what_is_typed_and_unfolded_stays,
            self.every_option_can_be_chosen,
            self.no_word_is_broken,
            self.nothing_is_wider_than_a_narrow_window,
            self.the_browser_complains_of_nothing,
            self.a_simulator_that_is_gone_is_told,
        ]

    def the_page_opens(self, gateway):
        self.browser.open(f"{gateway.simulator}/")
        seed = json.dumps(f"seed {gateway.books()['seed']}")
        self.browser.wait(f"document.querySelector('#seed')?.textContent === {seed}")
        self.sees("#settles", "None yet.")

    def a_settle_appears_by_itself_with_its_receivers_and_amounts(self, gateway):
        create(gateway, LONG_SETTLE, LONG_ORDER, [("72789245768543296350", 120), ("7001", 25_050)])
        shares = ["72789245768543296350", "¥1.20", "120 fen", "7001", "¥250.50", "25,050 fen"]
        rest = ["Douyin's fee", "¥6.00", "the seller, the rest", "¥742.30", "¥1,000.00"]
        self.sees("#settles tbody", LONG_SETTLE, LONG_ORDER, "SUCCESS", *shares, *rest)
        self.sees("#orders tbody", LONG_ORDER, "¥1,000.00", "¥0.00", "no money to settle")
        self.sees("#callbacks tbody", LONG_SETTLE, "SUCCESS", "acknowledged", "1 attempt")

    def a_fault_that_is_chosen_meets_the_next_create(self, gateway):
        self.browser.choose("[name=create]", "refused: 23102")
        self.sees("#faults-on", "One fault is on.")
        equal(gateway.books()["faults"]["create"], {"refuse": 23102})
        create(gateway, "refused", "unpaid", [], exit_code=GRPCURL_EXIT + FAILED_PRECONDITION)
        self.browser.click("#well")
        self.sees("#faults-on", "No fault is on.")
        create(gateway, "held", "sim-hold-1", [])
        self.sees("#settles tbody", "held", "PROCESSING")
        self.browser.click("#settles tbody button")
        self.sees("#settles tbody tr:first-child", "held", "SUCCESS", "ended")

    def errors_appear_until_they_are_dismissed(self, _gateway):
        self.unfold("#more")
        self.unfold("details:has(> #order)")
        self.browser.type("#order [name=out_order_no]", MARKUP)
        for field, text, error in [
            ("total", "12.345", '"12.345" is no amount in yuan'),
            ("items", "[{", "This is not JSON"),
            ("items", '[{"item_order_id":"i1","amount_fen":1,"uses_done":2,"uses_total":1}]',
             '"i1" was used too often.'),
        ]:
            self.browser.type(f"#order [name={field}]", text)
            self.browser.click("#order button")
            self.sees("#problem", error)
            self.browser.click("#problem button")
            self.browser.wait(element("#problem", "hidden"))
            self.browser.type(f"#order [name={field}]", "99.5" if field == "total" else "")

    def an_order_is_made_and_its_number_is_text(self, _gateway):
        self.browser.click("#order button")
        self.sees("#orders tbody", MARKUP, "¥99.50", "9,950 fen")
        equal(self.browser.look("document.querySelectorAll('img').length"), 0)

    def what_is_looked_for_is_found(self, _gateway):
        self.browser.type("#find", "7001")
        self.sees("#settles > p", "1 with “7001”, of 2")
        equal(self.of("#settles > table", "tBodies[0].rows.length"), 1)
        self.sees("#orders > p", "1 with “7001”, of 3")
        self.browser.type("#find", "")
        self.sees("#settles tbody", LONG_SETTLE, "held")

    def what_is_typed_and_unfolded_stays(self, _gateway):
        self.unfold("#callbacks details")
        self.unfold("details:has(> #app)")
        self.browser.type("#app [name=callback_url]", "http://half")
        for _refresh in range(2):
            clock = json.dumps(self.of("#clock", "textContent"))
            self.browser.wait(f"{element('#clock', 'textContent')} !== {clock}")
        equal(self.of("#app [name=callback_url]", "value"), "http://half")
        equal(self.of("#app [name=callback_url]", "matches(':focus')"), True)
        equal(self.of("#callbacks details", "open"), True)

    def every_option_can_be_chosen(self, _gateway):
        equal(self.browser.look(REFUSED_OPTION), None)
        equal(self.of("#problem", "hidden"), True)

    def no_word_is_broken(self, _gateway):
        unfold_all = "for (const it of document.querySelectorAll('details')) { it.open = true; }"
        self.browser.look(unfold_all)
        equal(self.browser.look("innerWidth"), WIDTH)
        equal(self.browser.look(BROKEN_WORDS), [])
        equal(self.browser.look(CUT_OPTIONS), [])
        for part in ["html", "#settles", "#orders", "#callbacks"]:
            self.fits(part)

    def nothing_is_wider_than_a_narrow_window(self, _gateway):
        self.browser.resize(NARROW, HEIGHT)
        self.browser.wait(f"innerWidth === {NARROW}")
        self.fits("html")

    def the_browser_complains_of_nothing(self, _gateway):
        # It notes every refusal that the page shows.
        refused = "the server responded with a status of 400"
        equal([it for it in self.browser.complaints if refused not in it.get("text", "")], [])

    def a_simulator_that_is_gone_is_told(self, gateway):
        gateway.process.kill()
        self.sees("#away", "The simulator does not answer.")

    def of(self, selector, what):
        return self.browser.look(element(selector, what))

    def fits(self, selector):
        """There is nothing in an element that one must scroll to the side for."""
        wide, room = self.of(selector, "scrollWidth"), self.of(selector, "clientWidth")
        expect(wide <= room, f"{selector} has {room} px for {wide}")

    def unfold(self, selector):
        self.browser.click(f"{selector} > summary")
        self.browser.wait(element(selector, "open"))

    def sees(self, selector, *texts):
        """Waits until an element that is shown has all of these texts."""
        self.browser.wait(
            f"""(() => {{
                const node = document.querySelector({json.dumps(selector)});
                return node?.checkVisibility() &&
                    {json.dumps(texts)}.every((text) => node.innerText.includes(text));
            }})()"""
        )


def element(selector, what):
    """Something of the first element that the selector finds, in JavaScript."""
    return f"document.querySelector({json.dumps(selector)}).{what}"


def create(gateway, number, order, receivers, exit_code=0):
    shares = [{"merchantUid": uid, "amountFen": fen} for uid, fen in receivers]
    settle = {"outSettleNo": number, "outOrderNo": order, "settleDesc": "门店分账"}
    request = json.dumps({**settle, "settleParams": shares})
    command = [os.environ["CHECK_GRPCURL"], "-plaintext", "-d", request, gateway.address]
    command.append(f"{SERVICE}/CreateSettle")
    done = subprocess.run(command, capture_output=True, text=True, timeout=CALL_SECONDS_MAX)
    expect(done.returncode == exit_code, f"{done.returncode}: {done.stdout}{done.stderr}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        browser = Browser(directory, WIDTH, HEIGHT)
        try:
            passed = run("page", Page(browser).checks())
        finally:
            browser.close()
    sys.exit(0 if passed else 1)
