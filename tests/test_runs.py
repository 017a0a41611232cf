"""Folders of photos: batches, sub-folders, a run that goes on where it was, photos that fail."""

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
import torch
from conftest import picture
from PIL import Image
from test_cli import refused, run

import vii
from vii import batching
from vii.application import Application
from vii.batching import BATCH_PIXELS, batch_for
from vii.runs.jobs import Job, Writing, edited
from vii.runs.plans import Request
from vii.sizes import Done

RNG = np.random.default_rng(11)


@pytest.fixture
def bands(tmp_path, toy_edit):
    """An edit for the toy editor."""
    vii.save_edit(toy_edit, tmp_path / "bands.safetensors")
    return tmp_path / "bands.safetensors"


@pytest.fixture
def photos(tmp_path):
    """A folder of five photos of two sizes."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(5):
        size = (40, 56, 3) if number % 2 else (56, 40, 3)
        Image.fromarray(RNG.integers(0, 255, size, dtype=np.uint8)).save(folder / f"{number}.png")
    return folder


def contents(folder):
    """Path within the folder -> bytes."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def applied(*arguments, code=0):
    """`vii apply ... --json`: the lines of photos, the report, and what stood on stderr."""
    out, err = run("apply", *arguments, "--json", code=code)
    *lines, report = map(json.loads, out.splitlines())
    return lines, report, err


def made_again(*arguments):
    """Names of the photos that a run which goes on did not keep."""
    lines, report, _ = applied(*arguments, "--resume")
    assert report["kept"] == sum(line["kept"] for line in lines)
    return sorted(line["photo"].rsplit("/")[-1] for line in lines if not line["kept"])


def test_what_is_whole_and_made_in_the_same_way_is_kept_and_all_else_is_made_again(tmp_path, bands, photos):
    out = tmp_path / "out"
    command = (bands, photos, "-o", out)
    everything = [f"{number}.png" for number in range(5)]
    assert made_again(*command) == everything
    before = contents(out)
    stamps = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert made_again(*command) == []
    assert stamps == {path: path.stat().st_mtime_ns for path in out.iterdir()}
    # What is not whole, of another photo, somebody's record, or not there.
    (out / "0.png").write_bytes(before["0.png"][: len(before["0.png"]) // 2])
    shutil.copy(out / "3.png", out / "1.png")
    vii.save_image(picture(1), out / "2.png", text={"vii": '{"schema": 3, "source": 5, "size": [1]}'})
    (out / "4.png").unlink()
    assert made_again(*command) == ["0.png", "1.png", "2.png", "4.png"]
    assert contents(out) == before
    # Another picture under the name of a photo.
    Image.fromarray(255 - np.asarray(Image.open(photos / "3.png"))).save(photos / "3.png")
    assert made_again(*command) == ["3.png"]
    assert made_again(*command) == []
    # Every option that changes a result.
    Image.new("L", (56, 40), 255).save(tmp_path / "mask.png")
    mask = tmp_path / "mask.png"
    shutil.copy(photos / "1.png", tmp_path / "1.png")
    alone = (tmp_path / "1.png", "-o", tmp_path / "one.jpg")
    for options in (
        ("--seed", "1"), ("--text", "red"), ("--size", "editor"), ("--finish", "none"), ("--box", "1,1,9,9"),
        ("--mask", mask), ("--quality", "40"), ("--keep-metadata",), ("--set", "guidance_scale=2"),
    ):  # fmt: skip
        run("apply", bands, *alone)
        _, report, _ = applied(bands, *alone, "--resume")
        assert report["kept"] == 1, options
        _, report, _ = applied(bands, *alone, *options, "--resume")
        assert report["kept"] == 0, options
    run("apply", bands, *alone, "--mask", mask)
    Image.new("L", (56, 40), 128).save(mask)
    assert applied(bands, *alone, "--mask", mask, "--resume")[1]["kept"] == 0
    assert applied(f"{bands}:0.5", *alone, "--resume")[1]["kept"] == 0


def test_what_is_somebodys_own_is_not_replaced(tmp_path, bands, photos):
    (tmp_path / "out").mkdir()
    shutil.copy(photos / "3.png", tmp_path / "out" / "3.png")
    assert "not made by vii" in refused("apply", bands, photos, "-o", tmp_path / "out", "--resume")


def test_sub_folders(tmp_path, bands, photos):
    for folder in ("a", "a/deep", ".hidden", "results/a"):
        (photos / folder).mkdir(parents=True)
        shutil.copy(photos / "0.png", photos / folder / "0.png")
    (photos / "a" / "raw.cr2").write_bytes(b"raw")
    (photos / "link").symlink_to(photos / "a")
    out = photos / "results"
    shutil.rmtree(out / "a")
    lines, report, _ = applied(bands, photos, "-o", out, "-r")
    expected = [*(f"{number}.png" for number in range(5)), "a/0.png", "a/deep/0.png"]
    assert sorted(contents(out)) == expected
    assert len(lines) == 7
    assert str(photos / "a" / "raw.cr2") in report["skipped"]
    assert contents(out)["a/deep/0.png"] == contents(out)["0.png"]
    assert applied(bands, photos, "-o", out, "-r", "--resume")[1]["kept"] == 7
    (tmp_path / "empty" / "below").mkdir(parents=True)
    assert "and those below" in refused("apply", bands, tmp_path / "empty", "-r", "-o", out)
    assert len(applied(bands, photos, "-o", tmp_path / "flat")[0]) == 5


def test_a_photo_that_fails_is_told_at_once_and_the_rest_is_done(tmp_path, bands, photos):
    whole = (photos / "2.png").read_bytes()
    (photos / "2.png").write_bytes(whole[: len(whole) // 2])
    lines, report, err = applied(bands, photos, "-o", tmp_path / "out", code=1)
    assert [sorted(line) for line in lines] == [
        ["error", "photo"] if number == 2 else ["kept", "path", "photo"] for number in range(5)
    ]
    assert (report["failed"], len(report["paths"])) == (1, 4)
    assert "1 of 5 photos could not be edited" in err
    out, err = run("apply", bands, photos, "-o", tmp_path / "out", "--resume", code=1)
    assert "5 photos: 0 edited, 4 kept, 1 failed" in err
    assert len(out.splitlines()) == 4
    (photos / "2.png").write_bytes(whole)
    _, err = run("apply", bands, photos, "-o", tmp_path / "out", "--resume")
    assert "5 photos: 1 edited, 4 kept; " in err


@pytest.fixture
def words(tmp_path, embedded):
    """Photos of three shapes in a random order, enough for full batches of three and for remainders."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    for number, kind in enumerate(RNG.permutation([0] * 6 + [1] * 4 + [2])):
        size = [(60, 80), (80, 60), (70, 70)][kind]
        vii.save_image(picture(number, *size), folder / f"{number:02d}.png")
    return (folder, "--text", "make it look like a watercolor painting", "--dtype", "float32", "--batch", "3")


def test_a_run_that_goes_on_gives_the_bytes_of_one_that_was_never_stopped(tmp_path, words):
    """In float32, where what a network makes of a photo depends on how many are beside it."""
    run("apply", *words, "-o", tmp_path / "whole")
    expected = contents(tmp_path / "whole")
    assert len(expected) == 11
    for gone in ([0, 4, 5, 9], [10], list(range(1, 11))):
        out = tmp_path / f"out-{len(gone)}"
        shutil.copytree(tmp_path / "whole", out)
        for number in gone:
            (out / f"{number:02d}.png").unlink()
        assert len(made_again(*words, "-o", out)) == len(gone)
        assert contents(out) == expected
    assert len(made_again(*words, "--dtype", "bfloat16", "-o", out)) == 11


def test_a_photo_alone_and_one_of_a_batch_differ_by_rounding_alone(tmp_path, embedded):
    photos = [picture(number, 96, 128) for number in range(4)]
    plan = Application(embedded, text="make it look like a watercolor painting")
    alone, together = [plan(photo) for photo in photos], list(plan.many(photos, batch=4))
    wrong = (torch.stack(alone) * 255).round() - (torch.stack(together) * 255).round()
    assert wrong.abs().max() <= 1
    assert (wrong != 0).float().mean() < 1e-3
    # Neither what is beside a photo nor its place makes a difference.
    order = [2, 0, 3, 1]
    for number, made in zip(order, plan.many([photos[number] for number in order], batch=4), strict=True):
        assert torch.equal(made, together[number])


def test_what_is_done_takes_its_place_in_a_batch(toy, toy_edit, monkeypatch):
    sizes = []
    edit = toy.edit
    monkeypatch.setattr(toy, "edit", lambda image, *rest: sizes.append(len(image.pixels)) or edit(image, *rest))
    photos = [picture(number, 40, 50) for number in range(7)]
    plan = Application(toy, toy_edit)
    expected = list(plan.many(photos, batch=3))
    assert sizes == [3, 3, 1]
    sizes.clear()
    found = list(plan.many([Done(40, 50), *photos[1:3], *[Done(40, 50)] * 3, photos[6]], batch=3))
    assert sizes == [3, 1]  # nothing is computed where all are done
    assert [image.numel() for image in found[3:6]] == [0] * 3
    for number in (1, 2, 6):
        assert torch.equal(found[number], expected[number])


def test_a_batch_too_large_for_the_memory_is_halved(toy, toy_edit, monkeypatch):
    photos, sizes, edit = [picture(number, 40, 50) for number in range(12)], [], toy.edit

    def short(image, *rest):
        sizes.append(len(image.pixels))
        if len(image.pixels) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return edit(image, *rest)

    plan = Application(toy, toy_edit)
    expected = list(plan.many(photos, batch=8))
    monkeypatch.setattr(batching, "MOST_WORKERS", 1)  # as on a GPU
    monkeypatch.setattr(toy, "edit", short)
    found = list(plan.many(photos, batch=8))
    assert sizes == [8, 4, 2, 2, 2, 2, 2, 2]
    assert all(map(torch.equal, found, expected))

    def never(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(toy, "edit", never)
    with pytest.raises(torch.OutOfMemoryError):
        list(plan.many(photos, batch=8))


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_on_a_cpu_batches_are_edited_beside_each_other_and_threads_are_as_before(toy, toy_edit, monkeypatch):
    photos, both, seen, edit = [picture(number, 40, 50) for number in range(8)], Barrier(2), [], toy.edit
    plan = Application(toy, toy_edit)
    expected = [plan(photo) for photo in photos]

    def meeting(*arguments):
        both.wait(10)  # which breaks where no other batch is edited
        seen.append(torch.get_num_threads())
        return edit(*arguments)

    monkeypatch.setattr(toy, "edit", meeting)
    found = list(plan.many(iter(photos), batch=4))
    assert all(map(torch.equal, found, expected))
    assert seen == [1, 1]
    with ThreadPoolExecutor(1) as pool:
        assert [torch.get_num_threads(), pool.submit(torch.get_num_threads).result()] == [2, 2]


@pytest.mark.usefixtures("two_threads")
def test_a_failure_beside_another_batch_is_raised(toy, toy_edit, monkeypatch):
    def failing(*_):
        raise vii.EditorError("no")

    monkeypatch.setattr(toy, "edit", failing)
    with pytest.raises(vii.EditorError, match="no"):
        list(Application(toy, toy_edit).many((picture(number, 40, 50) for number in range(99)), batch=2))


def test_batches_are_as_large_as_the_memory_of_a_gpu_allows(monkeypatch):
    assert batch_for(128, torch.device("cpu")) == BATCH_PIXELS // 128**2
    for gigabytes, batch in ((80, 15), (8, 2), (1, 1)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=gigabytes * 1e9: (free, 80e9))
        assert batch_for(512, torch.device("cuda")) == batch
    assert batch_for(1024, torch.device("cuda")) == 1


def test_memory_does_not_grow_with_the_number_of_photos(tmp_path, bands):
    """No more photos wait than fit into four batches, and what is read ahead."""
    paths = []
    for number in range(60):
        paths.append(tmp_path / f"{number:02d}.png")
        vii.save_image(picture(number, 32, 32), paths[-1])
    read, edit = [], vii.load_edit(bands)
    plan, _ = Request([(edit, 1.0)], ["bands"], {"editor": "toy"}, batch=2).plan()
    prepare = plan.prepare
    object.__setattr__(plan, "prepare", lambda pixels: read.append(1) or prepare(pixels))
    (tmp_path / "out").mkdir()
    jobs = [Job(path, tmp_path / "out" / path.name) for path in paths]
    for given, _ in enumerate(edited(jobs, plan, Writing()), 1):
        assert len(read) - given <= 8 + 2 * 16 + 2
    assert len(read) == 60
    assert len(list((tmp_path / "out").iterdir())) == 60


def test_a_folder_that_is_killed_again_and_again_goes_on():
    """A small round of `python -m tests.kill`."""
    command = [sys.executable, "-m", "tests.kill", "--rounds", "0", "--photos", "24", "--kills", "3"]
    done = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    there = [int(line.split()[0]) for line in done.stdout.splitlines() if " photos there, " in line]
    assert len(there) == 4
    assert 0 < there[0] < there[2] < there[3] == 24
