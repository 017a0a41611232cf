"""Make the pictures of `vii ui`: each page, on a desktop and on a phone. Needs playwright and chromium.

    python recipes/screenshots.py docs/ui

Starts the command itself with a library of its own, learns the shipped pair, saves it with its picture, and applies it.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
PATIENCE = 300_000


def main(out: str = "screenshots", *sizes: str) -> None:
    """Write `PAGE-SIZE.png` for every page into a folder, at the sizes named, or at all."""
    from playwright.sync_api import sync_playwright

    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name in sizes or SIZES:
            width, height = SIZES[name]
            with tempfile.TemporaryDirectory() as library:
                for path in (ROOT / "learned_instructions").glob("*.safetensors"):
                    shutil.copy(path, library)
                server, address = start(Path(library))
                try:
                    context = browser.new_context(viewport={"width": width, "height": height})
                    page = context.new_page()
                    page.set_default_timeout(PATIENCE)
                    page.goto(address)
                    for key, act in (("learn", learn), ("apply", apply), ("library", library_page)):
                        act(page)
                        page.wait_for_timeout(1500)
                        page.screenshot(path=folder / f"{key}-{name}.png", full_page=True)
                        print(folder / f"{key}-{name}.png")
                    context.close()
                finally:
                    server.send_signal(signal.SIGINT)
                    server.wait(60)
        browser.close()


def start(library: Path) -> tuple[subprocess.Popen[str], str]:
    """The command on a free port, and its address."""
    environment = {**os.environ, "VII_LIBRARY": str(library), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "vii", "ui", "--no-browser"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().split()[0]


def learn(page: Any) -> None:
    """Learn the shipped pair and save it with its picture."""
    page.locator("#example").click()
    page.locator("#after img").wait_for()
    page.locator("#learn").click()
    says(page, "learn-status", "Learned in")
    page.locator("#name textarea, #name input").first.fill("heat camera")
    page.get_by_label("Tags").fill("thermal, colours")
    page.get_by_label("What it does").fill("As a heat camera would see it.")
    page.get_by_label("Store a small picture").check()
    page.locator("#save").click()
    says(page, "save-status", "Saved")


def apply(page: Any) -> None:
    """Stack two edits on the shipped photos."""
    page.get_by_role("tab", name="Apply").click()
    page.locator("#example-photos").click()
    page.locator("#photos img").first.wait_for()
    for name in ("heat camera", "golden_hour"):
        page.locator("#edits input").click()
        page.get_by_role("option", name=name, exact=True).click()
    page.keyboard.press("Escape")
    weight = page.get_by_label("number input for Weight of golden_hour")
    weight.fill("0.4")
    weight.press("Tab")
    page.locator("#apply").click()
    says(page, "apply-status", "photos done")


def library_page(page: Any) -> None:
    """Show what the saved file holds."""
    page.get_by_role("tab", name="Library").click()
    page.locator("#edit input").click()
    page.get_by_role("option", name="heat camera", exact=True).click()
    says(page, "facts", "Explained")


def says(page: Any, key: str, text: str) -> None:
    """Wait until a place of the page says something."""
    from playwright.sync_api import expect

    expect(page.locator(f"#{key}")).to_contain_text(re.compile(text), timeout=PATIENCE)


if __name__ == "__main__":
    main(*sys.argv[1:])
