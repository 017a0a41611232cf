"""`vii learn` with several pairs, with pictures, curves and logs, as a user meets it."""

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest
from conftest import picture
from test_cli import refused, run
from test_event_log import Writer, writers  # noqa: F401 (a fixture)

import vii
from vii.cli.observe import Observers
from vii.files import Outputs

TOY = ["--editor", "toy", "--init", "none", "--tokens", "4", "--set", "probe_size=4", "--set", "batch_size=2"]
COLUMNS = {"COLUMNS": "80", "LINES": "24", "TERM": "xterm"}


@pytest.fixture
def folder(tmp_path):
    """Two pairs and a photo, named as the authors name them."""
    path = tmp_path / "pairs"
    path.mkdir()
    for index in range(2):
        vii.save_image(picture(index, 32, 32), path / f"{index}_0.png")
        vii.save_image(picture(index, 32, 32) * 0.5, path / f"{index}_1.png")
    vii.save_image(picture(9, 32, 32), path / "2_0.png")
    return path


def hashes(folder, *indices):
    return tuple(vii.Pair.open(folder / f"{i}_0.png", folder / f"{i}_1.png").sha256() for i in indices)


def test_pairs_of_a_folder_and_others_are_learned_together(tmp_path, folder):
    edit = tmp_path / "e.safetensors"
    told, _ = run("learn", "--pairs", folder, "-o", edit, *TOY, "--set", "steps=2")
    assert vii.load_edit(edit).pairs == hashes(folder, 0, 1)
    assert f"{folder / '2_0.png'} was left out" in told
    report = json.loads(run("learn", "--pairs", folder, "-o", edit, *TOY, "--set", "steps=1", "--json")[0])
    assert report["left_out"] == [str(folder / "2_0.png")]
    first = [folder / "1_0.png", folder / "1_1.png"]
    other = ["--pair", folder / "0_0.png", folder / "0_1.png"]
    run("learn", *first, *other, "--pairs", folder, "--pairs", folder, "-o", edit, *TOY, "--set", "steps=2")
    assert vii.load_edit(edit).pairs == hashes(folder, 1, 0, 0, 1, 0, 1)


def test_folders_without_pairs_are_refused_in_one_line(tmp_path, folder):
    edit = tmp_path / "e.safetensors"
    (tmp_path / "loose").mkdir()
    vii.save_image(picture(1), tmp_path / "loose" / "cat.png")
    for wrong, message in (
        (tmp_path / "none", "expected a folder of pairs, found nothing"),
        (tmp_path / "loose", "expected N_0 and N_1.*found cat.png"),
    ):
        line = refused("learn", "--pairs", wrong, "-o", edit, *TOY)
        assert re.search(message, line), line
    (folder / "0_1.png").unlink()
    vii.save_image(picture(3), folder / "5_1.png")
    assert "5_1.png; complete or remove" in refused("learn", "--pairs", folder, "-o", edit, *TOY)
    vii.save_image(picture(3, 32, 64), folder / "5_0.png")
    assert "one aspect ratio" in refused("learn", "--pairs", folder, "-o", edit, *TOY)
    assert not edit.exists()


def test_augmented_learning_says_so_in_the_file(tmp_path, folder):
    edit = tmp_path / "e.safetensors"
    run("learn", "--pairs", folder, "-o", edit, *TOY, "--set", "steps=2", "--set", "augment=crop-flip")
    assert vii.load_edit(edit).training["augment"] == "crop-flip"
    line = refused("learn", "--pairs", folder, "-o", edit, *TOY, "--set", "augment=turn")
    assert "augment must be one of none, flip, crop-flip, got 'turn'" in line


def test_preview_plot_and_logs(tmp_path, folder, writers):
    edit, log = tmp_path / "e.safetensors", tmp_path / "log"
    options = ["--preview", "--plot", "--log-dir", log, "--json", "--set", "steps=8", "--set", "probe_every=2"]
    report = json.loads(run("learn", "--pairs", folder, "-o", edit, *TOY, *options)[0])
    assert report["preview"] == str(tmp_path / "e.png")
    assert report["plot"] == str(tmp_path / "e.svg")
    assert report["log_dir"] == str(log)
    assert vii.load_image(tmp_path / "e.png").shape[2] > 7 * 192  # before, after, four snapshots, best
    assert "e: explained" in ET.parse(tmp_path / "e.svg").find("{http://www.w3.org/2000/svg}text").text
    (writer,) = writers
    assert writer.closed
    assert [step for _, step, _ in writer.images] == [0, 2, 4, 6, 8]
    assert len([1 for name, *_ in writer.scalars if name == "loss"]) == 8
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e.png", "e.safetensors", "e.svg", "log", "pairs"]


def test_logs_alone_cost_no_sampling(tmp_path, folder, writers, monkeypatch):
    monkeypatch.setattr("vii.editors.toy.ToyEditor.edit", None)
    edit = tmp_path / "e.safetensors"
    options = ["--plot", "--log-dir", tmp_path / "log", "--set", "steps=4", "--set", "finish=none"]
    run("learn", "--pairs", folder, "-o", edit, *TOY, *options)
    assert writers[0].images == []
    assert not (tmp_path / "e.png").exists()


def test_they_can_be_watched_and_survive_an_interrupt(tmp_path, folder, writers, monkeypatch):
    original, seen = vii.invert_steps, []

    def watched(*arguments, **options):
        for step in original(*arguments, **options):
            yield step
            seen.append(
                (vii.load_image(tmp_path / "e.png").shape[2], (tmp_path / "e.svg").read_text().count("<circle"))
            )
            if step.step == 5:
                raise KeyboardInterrupt

    monkeypatch.setattr("vii.cli.learn.invert_steps", watched)
    options = ["--preview", "--plot", "--log-dir", tmp_path / "log", "--set", "steps=8", "--set", "probe_every=2"]
    learn = ["learn", "--pairs", folder, "-o", tmp_path / "e.safetensors", *TOY, *options, "--json"]
    report = json.loads(run(*learn, code=130)[0])
    assert report["stopped"] == "interrupted"
    assert [width for width, _ in seen] == sorted(width for width, _ in seen)
    assert len({width for width, _ in seen}) == 3  # after 0, 2 and 4 updates
    assert [dots for _, dots in seen] == [1, 1, 2, 2, 3, 3]  # looks at the probe set
    assert vii.load_image(tmp_path / "e.png").shape[2] > seen[-1][0]
    assert writers[0].closed


def test_what_cannot_be_written_is_found_out_before_learning(tmp_path, folder, writers, monkeypatch):
    edit = tmp_path / "e.safetensors"
    (tmp_path / "e.png").mkdir()
    assert "e.png: expected the name of a file" in refused("learn", "--pairs", folder, "-o", edit, *TOY, "--preview")
    (tmp_path / "e.svg").mkdir()
    assert "e.svg: expected the name of a file" in refused("learn", "--pairs", folder, "-o", edit, *TOY, "--plot")
    log = ["--log-dir", folder / "0_0.png"]
    assert "choose another --log-dir" in refused("learn", "--pairs", folder, "-o", edit, *TOY, *log)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    log = ["--log-dir", tmp_path / "log"]
    assert "pip install tensorboard" in refused("learn", "--pairs", folder, "-o", edit, *TOY, *log)
    assert not edit.exists()


def test_time_spent_on_pictures_is_not_called_learning(tmp_path, toy, toy_pair, monkeypatch):
    observers = Observers(tmp_path / "e.safetensors", Outputs(), preview=True)
    observers.start(toy, toy_pair, 0)
    clock = iter([10.0, 13.0, 20.0, 24.0])
    monkeypatch.setattr("vii.cli.observe.time.perf_counter", lambda: next(clock))
    for step in list(
        vii.invert_steps(toy, [toy_pair], vii.InversionSettings(init="none", tokens=2, max_train_steps=1))
    ):
        observers.see(step)
    assert observers.seconds == 7.0


def test_an_observer_that_fails_is_told_once_and_costs_nothing(tmp_path, folder, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    edit = tmp_path / "e.safetensors"
    monkeypatch.setattr("vii.rendering.preview.save_image", full)
    monkeypatch.setattr("vii.cli.observe.learning_curve", full)
    options = ["--preview", "--plot", "--set", "steps=8", "--set", "probe_every=2"]
    told, said = run("learn", "--pairs", folder, "-o", edit, *TOY, *options)
    warnings = [line for line in said.splitlines() if "left out" in line]
    assert [line.split()[1] for line in warnings] == ["--plot", "--preview"]
    assert all("No space left on device" in line for line in warnings)
    assert vii.load_edit(edit).training["steps"] == 8
    assert "8 steps" in told


def test_nothing_that_was_read_or_is_the_users_is_written_over(tmp_path, folder):
    dog, after = tmp_path / "dog.png", tmp_path / "dog_after.png"
    vii.save_image(picture(1, 32, 32), dog)
    vii.save_image(picture(1, 32, 32) * 0.5, after)
    held = dog.read_bytes(), after.read_bytes()
    line = refused("learn", dog, after, "-o", tmp_path / "dog.safetensors", *TOY, "--preview", "--overwrite")
    assert "is read by this run and would be overwritten" in line
    assert (dog.read_bytes(), after.read_bytes()) == held
    (tmp_path / "e.svg").write_text("<svg/>")
    learn = ["learn", dog, after, "-o", tmp_path / "e.safetensors", *TOY, "--set", "steps=1", "--plot"]
    assert "not made by vii" in refused(*learn)
    assert not (tmp_path / "e.safetensors").exists()
    run(*learn, "--overwrite")
    run(*learn)  # its own files are replaced


@pytest.mark.skipif(os.name == "nt", reason="terminals are POSIX")
def test_the_line_on_a_terminal_shows_step_losses_and_time_left(tmp_path, folder):
    """On a terminal of 80 columns; nothing is cut off, and where the terminal is closed the work goes on."""
    import fcntl
    import pty
    import struct
    import termios

    edit = tmp_path / "e.safetensors"
    command = [sys.executable, "-m", "vii", "learn", "--pairs", folder, "-o", edit, *TOY, "--set", "steps=40"]
    for closed in (False, True):
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        process = subprocess.Popen(map(str, command), stderr=theirs, stdout=subprocess.PIPE, env=os.environ | COLUMNS)
        os.close(theirs)
        screen = b""
        while not closed:
            try:
                screen += os.read(ours, 65536)
            except OSError:
                break
        os.close(ours)
        process.communicate()
        assert process.returncode == 0
        assert vii.load_edit(edit).training["steps"] == 40
        edit.unlink()
        if not closed:
            shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.decode())
            last = [line for line in re.split(r"[\r\n]+", shown) if "learning" in line][-1]
            assert re.search(r"learning .*40/40 0:00:\d\d loss [\d.e+-]+ probe [\d.e+-]+ explained -?\d+%", last), last
