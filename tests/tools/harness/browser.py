"""Debian's Chromium, driven as a person would drive it: looks at the page, clicks and types.

It speaks the DevTools protocol over two pipes: messages in JSON, each ended by a zero byte.
"""

import json
import os
import select
import shutil
import subprocess
import time

from harness import expect

ANSWER_SECONDS_MAX = 30
# How often a page is asked whether it is as wanted.
LOOK_SECONDS = 0.05


class Browser:
    """One page in a browser that begins without a profile in this directory."""

    def __init__(self, directory, width, height):
        expect(shutil.which("chromium"), "there is no chromium")
        to_browser, self._commands = os.pipe()
        self._answers, from_browser = os.pipe()
        options = [
            "--headless",
            # As root it runs only so. It loads nothing but the simulator's page.
            "--no-sandbox",
            "--disable-background-networking",
            "--disable-dev-shm-usage",
            "--remote-debugging-pipe",
            f"--user-data-dir={directory}",
            f"--window-size={width},{height}",
            "about:blank",
        ]
        # The browser reads commands from 3 and writes answers to 4.
        renumber = f'exec "$0" "$@" 3<&{to_browser} 4>&{from_browser}'
        self.process = subprocess.Popen(
            ["bash", "-c", renumber, "chromium", *options],
            pass_fds=[to_browser, from_browser],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._received = b""
        self._calls = 0
        self._session = None
        # What the page has complained of: exceptions, errors in the console, refused loads.
        self.complaints = []
        (page,) = [
            target["targetId"]
            for target in self._call("Target.getTargets")["targetInfos"]
            if target["type"] == "page"
        ]
        attach = {"targetId": page, "flatten": True}
        self._session = self._call("Target.attachToTarget", attach)["sessionId"]
        for domain in ["Page", "Runtime", "Log"]:
            self._call(f"{domain}.enable")

    def open(self, url):
        self._call("Page.navigate", {"url": url})

    def look(self, expression):
        """What a JavaScript expression is on the page."""
        answer = self._call(
            "Runtime.evaluate",
            {"expression": expression, "returnByValue": True, "awaitPromise": True},
        )
        expect("exceptionDetails" not in answer, answer)
        return answer["result"].get("value")

    def wait(self, expression):
        """Looks until the expression is true."""
        end = time.monotonic() + ANSWER_SECONDS_MAX
        while not self.look(expression):
            expect(time.monotonic() < end, f"never so: {expression}")
            time.sleep(LOOK_SECONDS)

    def click(self, selector):
        """Clicks into the middle of the first element that the selector finds."""
        x, y, is_there = self.look(
            f"""(() => {{
                const node = document.querySelector({json.dumps(selector)});
                node.scrollIntoView({{ block: "center" }});
                const box = node.getBoundingClientRect();
                const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
                return [x, y, node.contains(document.elementFromPoint(x, y))];
            }})()"""
        )
        expect(is_there, f"a click would not meet {selector}")
        for kind in ["mousePressed", "mouseReleased"]:
            self._call(
                "Input.dispatchMouseEvent",
                {"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1},
            )

    def type(self, selector, text):
        """Writes a text into a field that was clicked on, instead of what is in it."""
        self.click(selector)
        self.look(f"document.querySelector({json.dumps(selector)}).select()")
        self._call("Input.insertText", {"text": text})

    def choose(self, selector, option):
        """Chooses the option of a select box that begins with this, by its first letters."""
        self.look(f"document.querySelector({json.dumps(selector)}).focus()")
        for key in option:
            self._call("Input.dispatchKeyEvent", {"type": "keyDown", "key": key, "text": key})
            self._call("Input.dispatchKeyEvent", {"type": "keyUp", "key": key})

    def resize(self, width, height):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", size)

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self._commands)
        os.close(self._answers)

    def _call(self, method, params=None):
        self._calls += 1
        message = {"id": self._calls, "method": method, "params": params or {}}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._calls:
                expect("error" not in answer, f"{method}: {answer.get('error')}")
                return answer["result"]
            self._note(answer)

    def _receive(self):
        while b"\0" not in self._received:
            ready, _, _ = select.select([self._answers], [], [], ANSWER_SECONDS_MAX)
            expect(ready, "the browser does not answer")
            more = os.read(self._answers, 1 << 20)
            expect(more, "the browser has ended")
            self._received += more
        message, _, self._received = self._received.partition(b"\0")
        return json.loads(message)

    def _note(self, event):
        params = event.get("params", {})
        if event["method"] == "Runtime.exceptionThrown":
            self.complaints.append(params["exceptionDetails"])
        elif event["method"] == "Runtime.consoleAPICalled" and params["type"] != "log":
            self.complaints.append(params)
        elif event["method"] == "Log.entryAdded":
            self.complaints.append(params["entry"])
