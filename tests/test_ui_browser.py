"""`vii ui` in a real browser: a headless Chromium, driven by Playwright, against the command as users start it."""

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
import pytest
from browsers import chromium, need_page
from conftest import bomb_png, heeds_ctrl_c, picture
from PIL import Image

import vii
from vii.demo import FOLDER as DEMO
from vii.images import resize
from vii.record import read_record

try:
    from playwright import sync_api
except ImportError:  # which `needed` tells, in a sentence
    sync_api = None

ROOT = Path(__file__).parent.parent
# Generous: these tests also run beside other work.
PATIENCE = 180_000


@pytest.fixture(scope="module", autouse=True)
def needed():
    need_page()


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """A library with the shipped edits."""
    folder = tmp_path_factory.mktemp("ui") / "library"
    folder.mkdir()
    for path in (ROOT / "learned_instructions").glob("*.safetensors"):
        shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="module")
def server(shelf, tmp_path_factory):
    """The command itself, on a free port: its address. Afterwards, that it left nothing behind, and said nothing."""
    temporary, log = tmp_path_factory.mktemp("tmp"), tmp_path_factory.mktemp("log") / "stderr"
    with log.open("w") as stderr:
        process, address = started(shelf, temporary, stderr=stderr)
        yield address
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    assert list(temporary.iterdir()) == []
    assert log.read_text().strip() == "vii: stopped"


def started(shelf, temporary, *options, **popen):
    environment = {**os.environ, "VII_LIBRARY": str(shelf), "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT)}
    environment.pop("VII_TOKEN", None)
    # requests hides this one by a filter of its own, which other threads that load libraries can put back.
    environment["PYTHONWARNINGS"] = "ignore:SOCKS support in urllib3"
    command = [sys.executable, "-m", "vii", "ui", "--no-browser", "--port", "0", "--device", "cpu", *options]
    popen |= {"env": environment, "stdout": subprocess.PIPE, "text": True, "preexec_fn": heeds_ctrl_c}
    process = subprocess.Popen(command, **popen)
    line = process.stdout.readline()
    assert re.match(r"http://localhost:\d+/\?token=[\w-]{32}   \(Ctrl-C ends it\)$", line)
    return process, line.split()[0]


@pytest.fixture(scope="module")
def browser(needed):
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser, server):
    """A tab; afterwards, that it asked no other machine for anything and that no script failed."""
    with browser.new_context(accept_downloads=True) as context:
        page = opened(context, server)
        yield page
        assert page.foreign == []
        assert page.faults == []


def opened(context, server):
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.foreign, page.faults = [], []
    page.on("request", lambda request: page.foreign.append(request.url) if is_foreign(request.url, server) else None)
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    # The page lists the library once it is complete; what is pressed before that is lost.
    with page.expect_response(lambda response: "run/predict" in response.url):
        page.goto(server)
    page.get_by_role("button", name="Learn", exact=True).wait_for()
    return page


def eventually(check):
    """Wait until something holds; what it says last is raised."""
    end = time.monotonic() + PATIENCE / 1000
    while True:
        try:
            return check()
        except AssertionError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def is_foreign(url, server):
    return not url.startswith((server.partition("?")[0], "data:", "blob:", "about:", "chrome"))


def open_tab(page, name):
    page.get_by_role("tab", name=name).click()


def drop(page, key, *paths):
    page.locator(f"#{key} input[type=file]").first.set_input_files([str(path) for path in paths])


def few_steps(page, section, key, count):
    page.locator(f"#{section} button").first.click()
    page.locator(f"#{key} input").fill(str(count))


def pick(page, key, *names):
    for name in names:
        page.locator(f"#{key} input").click()
        page.get_by_role("option", name=name, exact=True).click()
    page.keyboard.press("Escape")


def says(page, key, text):
    sync_api.expect(page.locator(f"#{key}")).to_contain_text(re.compile(text), timeout=PATIENCE)


def learn_example(page, steps):
    page.locator("#example").click()
    sync_api.expect(page.locator("#before img")).to_be_visible(timeout=PATIENCE)
    sync_api.expect(page.locator("#after img")).to_be_visible(timeout=PATIENCE)
    few_steps(page, "learn-settings", "steps", steps)
    page.locator("#learn").click()


def fetched(page, locator, tmp_path):
    with page.expect_download() as caught:
        locator.click()
    path = tmp_path / caught.value.suggested_filename
    caught.value.save_as(path)
    return path


def test_learn_save_and_download(page, shelf, tmp_path):
    learn_example(page, 4)
    says(page, "learn-status", "Learned in 4 steps")
    assert page.locator("#strip img").count() >= 5
    assert page.locator("[role=progressbar]").get_attribute("aria-valuenow") == "4"
    page.locator("#name textarea, #name input").first.fill("my heat")
    page.locator("#save").click()
    says(page, "save-status", "Saved as 'my heat'")
    path = fetched(page, page.locator("#download-edit"), tmp_path)
    assert path.name == "my heat.safetensors"
    assert path.read_bytes() == (shelf / "my heat.safetensors").read_bytes()
    assert vii.load_edit(path).training["steps"] == 4
    page.locator("#name textarea, #name input").first.fill("negative")
    page.locator("#save").click()
    says(page, "save-status", "another edit called 'negative'")


def test_cancel_keeps_the_best_so_far(page):
    learn_example(page, 5000)
    says(page, "learn-progress", r"step \d+ of 5000, loss .*, explained .*left")
    page.locator("#learn-stop").click()
    says(page, "learn-status", r"Stopped after \d+ of 5000 steps; the best so far is kept")
    sync_api.expect(page.locator("#save")).to_be_visible()
    sync_api.expect(page.locator("#learn")).to_be_enabled()


def test_pictures_that_are_no_pair_are_doubted(page, tmp_path):
    vii.save_image(vii.load_image(DEMO / "photos/cat.jpg"), tmp_path / "cat.png")
    coffee = vii.load_image(DEMO / "photos/coffee.jpg")
    height, width = vii.load_image(DEMO / "photos/cat.jpg").shape[-2:]
    vii.save_image(coffee[:, :height, :width], tmp_path / "coffee.png")
    vii.save_image(coffee[:, :100, :300], tmp_path / "wide.png")
    drop(page, "before", tmp_path / "cat.png")
    drop(page, "after", tmp_path / "wide.png")
    says(page, "pair-note", "need one aspect ratio")
    page.locator("#learn").click()
    says(page, "learn-status", "need one aspect ratio")


def test_apply_two_edits_and_words(page, tmp_path):
    open_tab(page, "Apply")
    drop(page, "photos", DEMO / "photos/cat.jpg", DEMO / "photos/coffee.jpg")
    pick(page, "edits", "negative", "golden_hour")
    weight = page.get_by_label("number input for Weight of negative")
    weight.fill("0.5")
    weight.press("Tab")
    page.locator("#words textarea, #words input").first.fill("make it night")
    few_steps(page, "apply-settings", "apply-steps", 2)
    page.locator("#apply").click()
    says(page, "apply-status", "2 of 2 photos done")
    sync_api.expect(page.locator("#slider img").first).to_be_visible()
    links = page.locator("#results a[download]")
    assert links.count() == 3
    archive = zipfile.ZipFile(fetched(page, links.nth(0), tmp_path))
    assert sorted(archive.namelist()) == ["cat.png", "coffee.png"]
    archive.extractall(tmp_path)
    made = read_record(tmp_path / "cat.png")
    assert [(edit["name"], edit["weight"]) for edit in made["edits"]] == [("negative", 0.5), ("golden_hour", 1.0)]
    assert (made["text"], made["settings"]["num_inference_steps"]) == ("make it night", 2)


def test_apply_where_it_was_painted(page, tmp_path):
    open_tab(page, "Apply")
    drop(page, "photos", DEMO / "photos/cat.jpg")
    pick(page, "edits", "negative")
    few_steps(page, "apply-settings", "apply-steps", 2)
    page.locator("#where button").first.click()
    canvas = page.locator("#mask canvas").first
    canvas.wait_for()
    canvas.scroll_into_view_if_needed()
    eventually(lambda: paint(page, canvas))
    page.locator("#apply").click()
    says(page, "apply-status", "Done")
    path = fetched(page, page.locator("#results a[download]").first, tmp_path)
    assert read_record(path)["region"] == "mask"
    edited, photo = vii.load_image(path), vii.load_image(DEMO / "photos/cat.jpg")
    moved = (edited - resize(photo, *edited.shape[-2:])).abs().mean(0)
    height, width = moved.shape
    assert moved[:4].max() < 0.02
    assert moved[height // 2, width // 2] > 0.02


def paint(page, canvas):
    """A stroke through the middle, once the photo is there to be painted on."""
    box = canvas.bounding_box()
    clip = dict(box)
    blank = page.screenshot(clip=clip)
    assert len(set(Image.open(io.BytesIO(blank)).convert("RGB").get_flattened_data())) > 1000, "the photo is not shown"
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 30, y, steps=6)
    page.mouse.up()
    page.mouse.move(x, box["y"] + 5)
    eventually(lambda: red(page.screenshot(clip=clip)))


def red(screenshot):
    pixels = np.asarray(Image.open(io.BytesIO(screenshot)).convert("RGB")).astype(int)
    assert (abs(pixels - [255, 45, 85]).max(axis=-1) < 40).any(), "nothing is painted"


def test_methods_are_compared_side_by_side(page, tmp_path):
    open_tab(page, "Compare")
    page.locator("#compare-example").click()
    sync_api.expect(page.locator("#compare-photo img").first).to_be_visible()
    boxes = page.locator("#methods input[type=checkbox]")
    for index in range(boxes.count()):
        boxes.nth(index).uncheck()
    for name in ("pixel-delta", "color-map"):
        page.locator("#methods label", has_text=name).locator("input").check()
    page.locator("#compare").click()
    says(page, "compare-status", "2 of 2 methods done")
    sync_api.expect(page.locator("#compared img")).to_have_count(2)
    assert page.locator("#compared-files a[download]").count() == 2


def test_a_broken_file_is_not_imported_and_a_good_one_is(page, shelf, tmp_path):
    broken, good = tmp_path / "broken.safetensors", tmp_path / "copied.safetensors"
    broken.write_bytes((shelf / "negative.safetensors").read_bytes()[:5000])
    shutil.copy(shelf / "negative.safetensors", good)
    open_tab(page, "Library")
    drop(page, "import", broken)
    says(page, "library-status", "broken.safetensors: damaged")
    assert not (shelf / "broken.safetensors").exists()
    drop(page, "import", good)
    says(page, "library-status", "Imported: copied")
    page.locator("#search textarea, #search input").first.fill("copi")
    says(page, "library-count", r"\b1 edit\b")
    pick(page, "edit", "copied")
    says(page, "facts", "Explained")
    assert fetched(page, page.locator("#share"), tmp_path / "x").name == "copied.safetensors"
    page.locator("#remove").click()
    page.locator("#really").click()
    says(page, "library-status", "'copied' was removed")
    assert not (shelf / "copied.safetensors").exists()


def test_a_non_image_and_a_decompression_bomb_are_refused(page, tmp_path):
    text, bomb = tmp_path / "text.png", tmp_path / "bomb.png"
    text.write_text("no picture")
    bomb.write_bytes(bomb_png())
    fine = tmp_path / "fine.png"
    vii.save_image(picture(1), fine)
    drop(page, "after", fine)
    drop(page, "before", text)
    says(page, "pair-note", "text.png: not a picture that can be read")
    page.locator("#before button[aria-label*=Clear], #before button[aria-label*=Remove]").first.click()
    drop(page, "before", bomb)
    says(page, "pair-note", "bomb.png: .*limit is 256,000,000")
    page.locator("#learn").click()
    says(page, "learn-status", "limit is 256,000,000")
    open_tab(page, "Apply")
    drop(page, "photos", bomb)
    says(page, "apply-status", "limit is 256,000,000")


def test_two_tabs_wait_for_each_other(page, browser, server):
    with browser.new_context() as context:
        other = opened(context, server)
        learn_example(page, 5000)
        says(page, "learn-progress", "step [1-9]")
        learn_example(other, 3)
        says(other, "learn-status", "Waiting for the job before it")
        page.locator("#learn-stop").click()
        says(page, "learn-status", "the best so far is kept")
        says(other, "learn-status", "Learned in 3 steps")
        says(page, "learn-status", "Stopped after")


@pytest.mark.parametrize(
    ("headers", "code"), [({"Host": "evil.example"}, 403), ({"Origin": "http://evil.example"}, 403), ({}, 401)]
)
def test_foreign_hosts_and_origins_and_other_users_of_this_machine_are_refused(server, headers, code):
    base = server.partition("?")[0]
    for path in ("", "?token=wrong", "config", "gradio_api/run/predict", "gradio_api/upload", "theme.css"):
        request = urllib.request.Request(base + path, headers=headers, data=b"{}" if "run" in path else None)
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=60)
        assert caught.value.code == code
        assert code == 403 or b"needs its token" in caught.value.read()


def test_another_page_cannot_reach_it(browser, server):
    """As a page that its owner has open elsewhere: by fetch, as a picture, in a frame."""
    with browser.new_context() as context:
        page = context.new_page()
        page.route("http://evil.example/", lambda route: route.fulfill(body="<h1>evil</h1>", content_type="text/html"))
        page.goto("http://evil.example/")
        tried = page.evaluate(
            """async (url) => {
              const got = async (mode) => {
                try { return (await fetch(new URL('config', url), {mode})).status } catch (error) { return 'refused' }
              };
              const frame = document.createElement('iframe');
              frame.src = url;
              document.body.append(frame);
              await new Promise((done) => { frame.onload = done; setTimeout(done, 5000) });
              return [await got('cors'), await got('no-cors')];
            }""",
            server,
        )
        assert tried == ["refused", "refused"]
        assert all("vii" not in (frame.title() or "") for frame in page.frames[1:])


@pytest.mark.parametrize("width", [390, 1280])
def test_pages_fit_their_window_and_everything_has_a_name(browser, server, width):
    with browser.new_context(viewport={"width": width, "height": 844}) as context:
        page = opened(context, server)
        for tab in ("Learn", "Apply", "Compare", "Library"):
            open_tab(page, tab)
            eventually(lambda: fits(page, width))
        edges = "() => [...document.querySelectorAll('#shelf img')].map((part) => part.getBoundingClientRect().right)"
        cards = len(list((ROOT / "learned_instructions").glob("*.safetensors")))
        eventually(lambda: all_inside(page.evaluate(edges), cards, width))


def fits(page, width):
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('button, input, textarea, select')]
          .filter((part) => part.offsetParent !== null && part.type !== 'file')
          .filter((part) => !(part.getAttribute('aria-label') || part.title || part.textContent.trim()
            || part.labels?.length || part.placeholder))
          .map((part) => part.outerHTML.slice(0, 200))"""
    )
    assert nameless == []


def all_inside(edges, least, width):
    assert len(edges) >= least
    assert all(0 < right <= width for right in edges)


def test_ctrl_c_says_one_line_while_a_page_is_open(browser, shelf, tmp_path):
    process, address = started(shelf, tmp_path, "--editor", "toy", stderr=subprocess.PIPE)
    with browser.new_context() as context:
        opened(context, address)  # which keeps a connection for news
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60)[1].strip() == "vii: stopped"
    assert list(tmp_path.iterdir()) == []


def test_the_keyboard_is_enough(page):
    page.locator("#example").press("Enter")
    sync_api.expect(page.locator("#after img")).to_be_visible(timeout=PATIENCE)
    few_steps(page, "learn-settings", "steps", 5000)
    page.locator("#learn").press("Enter")
    says(page, "learn-progress", "step")
    sync_api.expect(page.locator("#learn-stop")).to_be_enabled(timeout=PATIENCE)
    page.locator("#learn-stop").press("Space")
    says(page, "learn-status", "best so far is kept")
    assert page.locator("#learn-status").get_attribute("aria-live") == "polite"
