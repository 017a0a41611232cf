"""Make the pictures of `vii ui` and `vii gallery`, on a desktop and on a phone. Needs playwright and chromium.

    python recipes/screenshots.py recipes/screenshots

Starts the command itself with a library of its own, learns the shipped pair, saves it with its picture, and applies it,
as somebody does who sees the page for the first time; says how long each took.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
PATIENCE = 120_000


def main(out: str = "recipes/screenshots", *sizes: str) -> None:
    """Write `PAGE-SIZE.jpg` for every page into a folder, at the sizes named, or at all."""
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
                started = time.perf_counter()
                server, address = start(Path(library))
                print(f"the page is served after {time.perf_counter() - started:.1f} s")
                try:
                    context = browser.new_context(viewport={"width": width, "height": height})
                    page = context.new_page()
                    page.set_default_timeout(PATIENCE)
                    # The page lists the library once it is complete; what is pressed before that is lost.
                    with page.expect_response(lambda response: "run/predict" in response.url):
                        page.goto(address)
                    for key, act in STEPS.items():
                        started = time.perf_counter()
                        act(page)
                        seconds = time.perf_counter() - started
                        page.wait_for_timeout(1500)
                        shoot(page, folder / f"{key}-{name}.jpg", f"{seconds:.1f} s")
                    page.goto(gallery(Path(library)).as_uri())
                    shoot(page, folder / f"gallery-{name}.jpg", "")
                    context.close()
                finally:
                    server.terminate()
                    server.wait(60)
        browser.close()


def start(library: Path) -> tuple[subprocess.Popen[str], str]:
    """The command on a free port, and its address."""
    environment = {**os.environ, "VII_LIBRARY": str(library), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "vii", "ui", "--no-browser"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().split()[0]


def gallery(folder: Path) -> Path:
    """The page that `vii gallery` makes of the shipped edits."""
    made = folder / "gallery"
    command = [sys.executable, "-m", "vii", "gallery", str(ROOT / "learned_instructions"), "-o", str(made)]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL)
    return made / "index.html"


def shoot(page: Any, path: Path, note: str) -> None:
    """A picture of the page from its top, at most two windows long."""
    size = page.viewport_size
    height = min(page.evaluate("document.documentElement.scrollHeight"), 2 * size["height"])
    clip = {"x": 0, "y": 0, "width": size["width"], "height": height}
    page.screenshot(path=path, full_page=True, clip=clip, type="jpeg", quality=80)
    print(path, note)


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
    """Show what the saved file holds, and take a copy of it for a friend."""
    page.get_by_role("tab", name="Library").click()
    page.locator("#edit input").click()
    page.get_by_role("option", name="heat camera", exact=True).click()
    says(page, "facts", "Explained")
    with page.expect_download() as caught:
        page.locator("#share").click()
    print(f"{caught.value.suggested_filename}, {caught.value.path().stat().st_size / 1000:.0f} kB, to share")


def compare(page: Any) -> None:
    """What every method that is ticked makes of the shipped pair and a photo."""
    page.get_by_role("tab", name="Compare").click()
    page.locator("#compare-example").click()
    page.locator("#compare-photo img").wait_for()
    page.locator("#compare").click()
    says(page, "compare-status", "methods done")


def says(page: Any, key: str, text: str) -> None:
    """Wait until a place of the page says something."""
    from playwright.sync_api import expect

    expect(page.locator(f"#{key}")).to_contain_text(re.compile(text), timeout=PATIENCE)


# In this order: what is learned is applied, and is in the library afterwards.
STEPS = {"learn": learn, "apply": apply, "compare": compare, "library": library_page}

if __name__ == "__main__":
    main(*sys.argv[1:])
