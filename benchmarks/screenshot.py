"""A picture of a report page, as docs/experiments.md shows it.

    llmkit experiment nq-retrieval --html race.html
    python benchmarks/screenshot.py race.html docs/experiment.png

Needs Debian's Chromium (`apt-get install chromium`) and the package `playwright` (its own browsers are not needed).
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--width", type=int, default=1040)
    parser.add_argument("--height", type=int, default=980, help="0: the whole page")
    given = parser.parse_args()
    browser_path = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser_path is None:
        raise SystemExit("no chromium on the PATH: apt-get install chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise SystemExit("no playwright: pip install playwright") from error
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        view = browser.new_page(viewport={"width": given.width, "height": given.height or 800}, color_scheme="light")
        view.goto(given.page.resolve().as_uri())
        view.screenshot(path=str(given.picture), full_page=not given.height)
        browser.close()
    print(f"{given.picture}: {given.picture.stat().st_size // 1024} KB")


if __name__ == "__main__":
    main()
