"""ComfyUI's editor in a real headless Chromium, used as people do: files opened, buttons pressed, toasts read."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WINDOW = (1920, 1080)
PATIENCE = 60  # seconds for anything that the editor is expected to do
RENDERINGS = ("canvas", "nodes2")  # the second is Nodes 2.0, whose nodes are elements of the page
SCRIPT_SECONDS = 300  # for all nodes of a ComfyUI in one graph, or a large template
SETTLE = 0.5  # seconds in which the editor draws, and shows the toasts of what it has just done

# What the editor tells people by, at the time of 1.27 and of 1.58, which has a card for all that hinders a run.
TOAST = '.p-toast-message, li[role="alert"]'
DIALOG = ".p-dialog, [data-reka-dialog-content]"
BOX = f'{TOAST}, {DIALOG}, [data-testid="error-overlay"]'

# Runs before the page's own scripts. It keeps every message box that ever appears, because toasts leave by themselves;
# an element keeps its text when it has left the page.
WATCH = f"""
window.__shown = new Set();
new MutationObserver(records => {{
  for (const record of records) for (const added of record.addedNodes) if (added.nodeType === 1)
    for (const element of [added, ...added.querySelectorAll('{BOX}')])
      if (element.matches('{BOX}')) window.__shown.add(element);
}}).observe(document, {{childList: true, subtree: true}});
"""
# The older dialogs of the editor are always in the page, mostly hidden.
MESSAGES = f"""
const old = [...document.querySelectorAll('.comfy-modal')].filter(e => getComputedStyle(e).display !== 'none');
return [...window.__shown, ...old].map(e => ({{
  kind: e.matches('{TOAST}') ? 'toast' : 'dialog', text: (e.innerText || e.textContent).trim()}}));
"""
READY = """
return Boolean(window.app?.graph && app.extensionManager && window.LiteGraph?.registered_node_types.SaveImage);
"""
# In pixels of the page, on the title and clear of the dot before it.
TITLE_PLACE = """
const node = app.graph.nodes.find(node => node.getTitle() === arguments[0]);
const [x, y] = app.canvas.ds.convertOffsetToCanvas([node.pos[0] + 50, node.pos[1] - 15]);
const {left, top} = app.canvas.canvas.getBoundingClientRect();
return [Math.round(left + x), Math.round(top + y)];
"""
# What is on the page when a file has been opened: the hook is called after all nodes, links and dialogs are made.
COUNT_GRAPHS = """
window.__graphs = 0;
app.registerExtension({name: 'tests.loaded', afterConfigureGraph() { window.__graphs += 1; }});
"""
# A file, in base64 and with its name, let fall on the canvas.
DROP = """
const bytes = Uint8Array.from(atob(arguments[0]), letter => letter.charCodeAt(0));
const dataTransfer = new DataTransfer();
dataTransfer.items.add(new File([bytes], arguments[1], {type: 'image/png'}));
for (const type of ['dragenter', 'dragover', 'drop'])
  app.canvas.canvas.dispatchEvent(new DragEvent(type, {bubbles: true, cancelable: true, dataTransfer}));
"""


@dataclass(frozen=True)
class Message:
    """A toast or a dialog, and all of its text."""

    kind: str  # "toast" | "dialog"
    text: str


def browser_paths() -> tuple[str, str] | None:
    """Chromium and its driver, where both are installed."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


class Browser:
    """One headless Chromium for many tabs, as context manager; only loopback can be reached from it.

    What has crashed, tab or whole browser, fails who uses it; the next tab is one of a browser that was started anew.
    """

    def __init__(self, browser: str, driver: str):
        self._browser, self._service = browser, driver
        self._driver: Any = None

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self._quit()

    @contextmanager
    def tab(self) -> Iterator[Any]:
        """Selenium's driver on a new tab, which is closed afterwards."""
        if self._driver is None:
            self._driver = self._start()
        driver = self._driver
        try:
            driver.switch_to.new_window("tab")
            yield driver
        finally:
            self._close_tab()

    def _close_tab(self) -> None:
        from selenium.common.exceptions import WebDriverException
        from urllib3.exceptions import HTTPError

        try:
            self._driver.close()
            self._driver.switch_to.window(self._driver.window_handles[0])
            assert self._driver.execute_script("return 1") == 1
        except (WebDriverException, HTTPError):
            self._quit()

    def _quit(self) -> None:
        from selenium.common.exceptions import WebDriverException
        from urllib3.exceptions import HTTPError

        if self._driver is None:
            return
        driver, self._driver = self._driver, None
        browsers: list[int] = []
        for thread in Path(f"/proc/{driver.service.process.pid}/task").glob("*/children"):
            with suppress(OSError):  # a thread may have ended
                browsers += map(int, thread.read_text().split())
        with suppress(WebDriverException, HTTPError):
            driver.quit()
        for browser in browsers:  # one that no longer answers outlives its driver
            with suppress(ProcessLookupError):
                os.kill(browser, signal.SIGKILL)

    def _start(self) -> Any:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = self._browser
        for argument in (
            *("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-proxy-server"),
            f"--window-size={WINDOW[0]},{WINDOW[1]}",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        ):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = webdriver.Chrome(options=options, service=Service(self._service))
        driver.set_script_timeout(SCRIPT_SECONDS)
        driver.command_executor.client_config.timeout = 2 * SCRIPT_SECONDS  # selenium gives up sooner otherwise
        return driver


class Editor:
    """The editor of one server in a tab of its own.

    `driver` is selenium's, for what no method here does; `rendering` one of RENDERINGS, as the server's settings say.
    """

    def __init__(self, url: str, driver: Any, rendering: str = "canvas"):
        self.url, self.driver, self.rendering = url, driver, rendering
        self.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})
        self._console: list[str] = []
        self.open()

    def open(self) -> None:
        """Load the page anew, until its nodes are registered; the canvas is empty, and nothing has been shown yet."""
        self.driver.get(self.url)
        self.wait("the editor to be ready", lambda: self.script(READY))
        self.script(COUNT_GRAPHS)
        time.sleep(SETTLE)

    def wait(self, what: str, condition: Callable[[], Any], seconds: float = PATIENCE) -> Any:
        """The first true value of `condition`; after `seconds` an assertion that says what was waited for."""
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {seconds} s for {what}; the editor showed {self.messages()}")
            time.sleep(0.1)
        return found

    def script(self, body: str, *given: Any) -> Any:
        """The JSON value that the body of an async JavaScript function returns; `arguments` in it are `given`."""
        answer = self.driver.execute_async_script(
            "const done = arguments[arguments.length - 1], given = [...arguments].slice(0, -1);"
            "const tell = what => done(JSON.stringify(what));"
            f"(async function() {{ {body} }}).apply(null, given)"
            ".then(value => tell({value: value ?? null}), error => tell({error: String(error?.stack ?? error)}));",
            *given,
        )
        result = json.loads(answer)
        if "error" in result:
            raise RuntimeError(f"The editor's JavaScript failed: {result['error']}")
        return result["value"]

    def open_file(self, path: Path) -> None:
        """Open a workflow or a picture through the editor's own file input, and wait until its graph is there."""
        self.wait_for_graph(lambda: self.find("#comfy-file-input").send_keys(str(path.resolve())))

    def drop_picture(self, path: Path) -> None:
        """Let a PNG fall on the canvas, as if dragged from the desktop, and wait until its graph is there."""
        data = base64.b64encode(path.read_bytes()).decode()
        self.wait_for_graph(lambda: self.script(DROP, data, path.name))

    def open_document(self, document: dict[str, Any]) -> None:
        """Open a workflow that is in no file; what follows is what follows on opening a file."""
        self.wait_for_graph(lambda: self.script("app.loadGraphData(arguments[0])", document))

    def wait_for_graph(self, act: Callable[[], Any]) -> None:
        """Do what makes the editor open a graph, and wait until it is there and drawn."""
        before = self.script("return window.__graphs")
        act()
        self.wait("the graph to be opened", lambda: self.script("return window.__graphs") > before)
        time.sleep(SETTLE)

    def graph(self) -> dict[str, Any]:
        """The workflow on the canvas, as the editor would save it."""
        return self.script("return app.graph.serialize()")

    def prompt(self) -> dict[str, Any]:
        """The API prompt that the editor makes of the graph on the canvas: its own conversion."""
        return self.script("return (await app.graphToPrompt()).output")

    def messages(self) -> list[Message]:
        """Every toast and dialog that appeared since the page was opened, or since `forget`."""
        return [Message(**message) for message in self.script(MESSAGES)]

    def console(self) -> list[str]:
        """Every error and warning that a script wrote to the browser's console since `forget`."""
        log = self.driver.get_log("browser")  # what has been read is gone from it
        self._console += [line["message"] for line in log if line["level"] in ("SEVERE", "WARNING")]
        return list(self._console)

    def forget(self) -> None:
        """Close open dialogs; what was shown or written to the console so far is no longer reported."""
        from selenium.webdriver.common.action_chains import ActionChains
        from selenium.webdriver.common.keys import Keys

        while self.driver.find_elements("css selector", DIALOG):
            ActionChains(self.driver).send_keys(Keys.ESCAPE).perform()
            time.sleep(SETTLE)
        self.script("window.__shown.clear()")
        self.console()
        self._console = []

    def find(self, selector: str) -> Any:
        """The first element of a CSS selector; waits for it."""
        return self.wait(selector, lambda: self.driver.find_elements("css selector", selector))[0]

    def click(self, selector: str) -> None:
        self.find(selector).click()

    def click_node(self, title: str) -> None:
        """Click the title of the node that has it, which selects the node."""
        from selenium.webdriver.common.action_chains import ActionChains

        x, y = self.script(TITLE_PLACE, title)
        pointer = ActionChains(self.driver)
        pointer.w3c_actions.pointer_action.move_to_location(x, y).click()
        pointer.perform()

    def press_run(self) -> None:
        self.click('[data-testid="queue-button"] button, button[data-testid="queue-button"]')

    def screenshot(self, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        assert self.driver.save_screenshot(str(path))
        return path
