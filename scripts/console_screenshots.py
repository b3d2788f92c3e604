"""Take the screenshots of the web console that the documentation shows (`make screenshots`).

Starts `user-worker dev --samples`, waits until every sample has ended, and opens the pages in a
headless Chromium, which must be installed (`chromium` on the PATH).
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from playwright.sync_api import Browser, sync_playwright

IMAGES: Final = Path(__file__).parents[1] / "docs" / "images"
ADDRESS: Final = re.compile(r"http://127\.0\.0\.1:\d+/\?token=\S+")
READINGS: Final = 12_000
"""Milliseconds until the plots have several readings."""
PAGES: Final = {"overview": "/", "live": "/live"}


def main() -> int:
    """Take all screenshots; return the exit code."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.stderr.write("error: Chromium is not installed: install it, and run this again\n")
        return 1
    IMAGES.mkdir(exist_ok=True)
    with console() as address, sync_playwright() as playwright:
        arguments = ["--no-sandbox"]  # root in a container has no sandbox; the pages are ours
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        take(browser, address)
        browser.close()
    return 0


@contextmanager
def console() -> Iterator[str]:
    """Run the samples; yield the address of the console once all have ended."""
    command = [sys.executable, "-m", "cli", "dev", "--samples"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            assert process.stdout is not None
            yield _address(process.stdout)
        finally:
            process.terminate()


def _address(lines: IO[str]) -> str:
    address = ""
    for line in lines:
        if found := ADDRESS.search(line):
            address = found[0]
        if "ended as expected" in line:
            return address
    raise RuntimeError("the samples did not end")


def take(browser: Browser, address: str) -> None:
    """Take the screenshots."""
    page = browser.new_page(viewport={"width": 1100, "height": 760})
    page.goto(address)
    page.wait_for_timeout(READINGS)
    root = address.partition("/?")[0]
    for name, path in PAGES.items():
        page.goto(root + path)
        page.wait_for_timeout(1_500)
        page.screenshot(path=IMAGES / f"console-{name}.png")
    page.goto(f"{root}/dead-letters")
    page.get_by_role("link", name="InvalidField").click()
    page.locator("tbody th a").first.click()
    page.screenshot(path=IMAGES / "console-dead-letter.png")


if __name__ == "__main__":
    sys.exit(main())
