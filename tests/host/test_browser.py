"""What crashes in the browser takes nothing along: neither the other tests' tabs nor the browser itself."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import psutil
import pytest
from selenium.common.exceptions import WebDriverException
from urllib3.exceptions import HTTPError

from .browser import Browser


def crash_the_tab(driver: Any) -> None:
    driver.get("chrome://crash")


def kill_the_browser(driver: Any) -> None:
    for process in psutil.Process(driver.service.process.pid).children(recursive=True):
        process.send_signal(signal.SIGKILL)
    driver.execute_script("return 1")


def kill_its_driver(driver: Any) -> None:
    driver.service.process.kill()
    driver.execute_script("return 1")


@pytest.mark.parametrize("crash", [crash_the_tab, kill_the_browser, kill_its_driver])
def test_after_a_crash_the_next_tab_works(browser: Browser, crash: Callable[[Any], None]) -> None:
    with pytest.raises((WebDriverException, HTTPError)), browser.tab() as driver:
        crash(driver)
    with browser.tab() as driver:
        driver.get("data:text/html,<title>alive</title>")
        assert driver.title == "alive"


def test_a_tab_is_new_and_closed_afterwards(browser: Browser) -> None:
    for _ in range(2):
        with browser.tab() as driver:
            assert len(driver.window_handles) == 2 and driver.current_url in ("about:blank", "data:,")
            driver.get("data:text/html,<title>left behind</title>")
        assert len(driver.window_handles) == 1
