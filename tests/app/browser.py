"""The app's page in a real headless Chromium, used as people do: fields filled, buttons pressed, pictures looked at."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENCE = 120  # seconds for anything that the page is expected to do, on a machine with other work
WIDE, NARROW = (1280, 900), (390, 844)
# Open everything that is folded in the tab that can be seen, each once; whether all of it is open.
UNFOLD = """
const seen = [...document.querySelectorAll('.advanced button.label-wrap')].filter(button => button.offsetParent);
const folded = seen.filter(button => !button.classList.contains('open'));
folded.filter(button => !button.dataset.asked).forEach(button => { button.dataset.asked = true; button.click(); });
return folded.length === 0;
"""


def browser_paths() -> tuple[str, str] | None:
    """Chromium and its driver, where both are installed."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


class Page:
    """One window, as context manager; only loopback can be reached from it. `driver` is selenium's."""

    def __init__(
        self,
        url: str,
        browser: str,
        driver: str,
        size: tuple[int, int] = WIDE,
        downloads: Path | None = None,
        scheme: str = "light",
    ) -> None:
        """scheme: what the browser says that the person prefers, "light" or "dark"."""
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = browser
        for argument in (
            *("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-proxy-server"),
            *("--force-device-scale-factor=1", f"--window-size={size[0]},{size[1]}"),
            *("--disable-renderer-backgrounding", "--disable-backgrounding-occluded-windows"),
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        ):
            options.add_argument(argument)
        if downloads is not None:
            options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.url = url
        self.driver = webdriver.Chrome(options=options, service=Service(driver))
        self.resize(*size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self.requested: list[str] = []  # addresses outside this computer

    def __enter__(self) -> Page:
        try:
            self.open()
        except BaseException:
            self.driver.quit()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.driver.quit()

    def resize(self, width: int, height: int) -> None:
        """Give the window another size, and the page time to follow."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        time.sleep(0.3)

    def open(self) -> None:
        self.driver.get(self.url)
        self.wait("the page", lambda: self.driver.find_elements("css selector", "button.make"))
        time.sleep(1)

    def wait(self, what: str, condition: Callable[[], Any], seconds: float = PATIENCE) -> Any:
        """The first true value of `condition`; after `seconds` an assertion that says what was waited for."""
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {seconds} s for {what}; the page shows: {self.status()!r}")
            time.sleep(0.25)  # asking takes the page's own time
        return found

    def find_all(self, selector: str) -> list[Any]:
        """The elements of a CSS selector that can be seen."""
        return [found for found in self.driver.find_elements("css selector", selector) if found.is_displayed()]

    def find(self, selector: str) -> Any:
        """The first element that can be seen; waits for it."""
        return self.wait(selector, lambda: self.find_all(selector))[0]

    def unfold(self) -> None:
        """Open Advanced, and every heading in it."""
        self.wait("the fields", lambda: self.find_all("button.make, .pictures"))
        self.wait("all to be open", lambda: self.driver.execute_script(UNFOLD))
        time.sleep(0.3)

    def click(self, selector: str) -> None:
        element = self.find(selector)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def fill(self, selector: str, text: str) -> None:
        """Type into the text field below a selector, in place of what is there, and leave it."""
        from selenium.webdriver.common.keys import Keys

        if not self.find_all(f"{selector} textarea, {selector} input"):
            self.unfold()
        field = self.find(f"{selector} textarea, {selector} input")
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", field)
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(Keys.DELETE)
        field.send_keys(text)
        field.send_keys(Keys.TAB)
        time.sleep(0.2)

    def value(self, selector: str) -> str:
        if not self.find_all(f"{selector} textarea, {selector} input"):
            self.unfold()
        return str(self.find(f"{selector} textarea, {selector} input").get_attribute("value"))

    def tab(self, title: str) -> None:
        """Choose a tab, also where it is one of those that the row has no room for."""

        def chosen() -> bool:
            shown = [button for button in self.find_all("button[role=tab]") if button.text.strip() == title]
            if not shown and not (shown := self._in_menu(title)):
                self.click(".overflow-menu > button")
                shown = self._in_menu(title)
            if shown:
                shown[0].click()
            return bool(shown)

        self.wait(f"the tab {title}", chosen)
        time.sleep(0.5)

    def _in_menu(self, title: str) -> list[Any]:
        return [button for button in self.find_all(".overflow-dropdown button") if button.text.strip() == title]

    def status(self) -> str:
        """What the visible tab says of its run."""
        found = self.find_all(".status")
        return "\n".join(element.text for element in found)

    def state(self) -> str:
        """running, done, failed or stopped; idle before anything ran."""
        found = self.driver.find_elements("css selector", "[id^=status-] .status")
        shown = [str(element.get_attribute("class")) for element in found if element.is_displayed()]
        return shown[0].split()[-1] if shown else ""

    def start(self, button: str = "button.make") -> None:
        """Press a button that runs something, and wait until it is running, or already over."""
        self.driver.execute_script(
            "for (const box of document.querySelectorAll('[id^=status-] .status')) box.className = 'status before'"
        )
        self.click(button)
        self.wait("the run to begin", lambda: self.state() not in ("", "before", "idle"), 20)

    def finish(self, seconds: float = PATIENCE) -> str:
        """Wait until what runs is over -> how it ended."""
        ended = self.wait("the end of the run", lambda: self.state() not in ("running", "") and self.state(), seconds)
        time.sleep(0.5)  # the pictures are drawn
        return str(ended)

    def make(self, button: str = "button.make", seconds: float = PATIENCE) -> str:
        self.start(button)
        return self.finish(seconds)

    def console(self) -> list[str]:
        """Every error that a script or the browser wrote to the console."""
        return [line["message"] for line in self.driver.get_log("browser") if line["level"] == "SEVERE"]

    def outside(self) -> list[str]:
        """Every address outside this computer that the page asked for."""
        import json

        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                url = message["params"]["request"]["url"]
                if not url.startswith((self.url, "data:", "blob:", "chrome:", "about:")):
                    self.requested.append(url)
        return self.requested

    def screenshot(self, path: Path) -> None:
        """All of the page, not only what the window shows."""
        import base64

        path.parent.mkdir(parents=True, exist_ok=True)
        taken = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "format": "png"})
        path.write_bytes(base64.b64decode(taken["data"]))
