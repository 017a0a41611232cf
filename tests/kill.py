"""Ended at random moments: `python -m tests.kill --rounds 100 --seed 0`, from the root of the project; minutes.

`vii learn`, `apply`, `gallery`, `library add` and `pull` with the toy editor, each in a process of its own that is
killed (SIGKILL) somewhere between its first and its last moment. Nothing that lies there then may be half-written; the
same command is run to its end, and must leave what a run that nobody killed leaves: the same files, the same bytes,
nothing else. `vii learn` is stopped by SIGINT, SIGTERM and SIGHUP too, while it learns: the best so far must be there,
and the exit code 128 and the number of the signal; or 0, and all that a run leaves which nobody stopped.

Before that one `vii apply --resume` on many photos is killed again and again, and goes on each time: in the end there
must be the files of a run that nobody killed, and none that was whole may have been written a second time.
"""

import argparse
import contextlib
import hashlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from vii.cores import share_cores

share_cores()
os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}  # forks cleanly
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import torch
from hub_server import Hub, Repo
from PIL import Image

import vii
from vii.cli import main
from vii.cli.observe import Observers
from vii.editors.toy import ToyEditor

TOY = ("--editor", "toy", "--init", "none", "--tokens", "4", "--set", "probe_size=4", "--set", "batch_size=2")
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Scene:
    """A folder with a pair, photos and edits, in which commands run; `work` is all that they write to."""

    def __init__(self, folder: Path, hub: Hub) -> None:
        self.given, self.work = folder / "given", folder / "work"
        (self.given / "photos").mkdir(parents=True)
        for number in range(12):
            pixels = np.random.default_rng(number).integers(0, 255, (48, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(self.given / "photos" / f"{number}.png")
        Image.fromarray(pixels).save(self.given / "before.png")
        Image.fromarray(pixels // 2).save(self.given / "after.png")
        toy = ToyEditor()
        for number in range(4):
            edit = vii.Edit(
                tokens=torch.full((4, 3), 0.05 * number),
                space=toy.space,
                editor="toy",
                init_text="x",
                start=1,
                resolution=32,
            )
            vii.save_edit(edit, self.given / f"e{number}.safetensors")
        hub.repos["ada/bands"] = repo = Repo()
        repo.commit({"bands.safetensors": (self.given / "e1.safetensors").read_bytes()})
        edits = [str(path) for path in sorted(self.given.glob("*.safetensors"))]
        pair, photos = (str(self.given / "before.png"), str(self.given / "after.png")), str(self.given / "photos")
        self.learning = ("learn", *pair, "-o", str(self.work / "learned.safetensors"), *TOY, "--set", "steps=400")
        self.commands = {
            "learn": (*self.learning[:-1], "steps=60", "--preview", "--plot"),
            "apply": ("apply", edits[1], photos, "-o", str(self.work / "out")),
            "gallery": ("gallery", str(self.given), "-o", str(self.work / "gallery"), "--photos", photos),
            "library": ("library", "add", *edits),
            "pull": ("pull", "ada/bands", "-o", str(self.work / "pulled.safetensors")),
        }

    def clear(self) -> None:
        """Nothing is there yet."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()

    def contents(self) -> dict[str, str]:
        """Path -> hash of every file."""
        files = sorted(path for path in self.work.rglob("*") if path.is_file())
        return {str(path.relative_to(self.work)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    def half_written(self) -> list[str]:
        """Files under their own names that cannot be read to their end."""
        return [str(path) for path in self.work.rglob("*") if path.is_file() and not _whole(path)]


def _whole(path: Path) -> bool:
    if path.name.startswith(".") and path.suffix == ".part":  # known as such, and removed by the next run
        return True
    try:
        match path.suffix:
            case ".safetensors":
                vii.load_edit(path)
            case ".png":
                with Image.open(path) as picture:
                    picture.load()
            case ".svg":
                ET.parse(path)
            case ".html":
                return path.read_text(encoding="utf-8").rstrip().endswith("</html>")
    except Exception as error:
        print(f"{path}: {error}")
        return False
    return True


def start(command: Sequence[str]) -> tuple[int, int]:
    """Run a command in a fork of this process, which has imported all: (its id, a pipe that tells of steps)."""
    read, write = os.pipe()
    if process := os.fork():
        os.close(write)
        return process, read
    code = 70
    try:
        os.close(read)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        see = Observers.see

        def told(self: Observers, step: vii.Step) -> None:
            see(self, step)
            with contextlib.suppress(BrokenPipeError):
                os.write(write, b".")

        Observers.see = told  # type: ignore[method-assign]
        result = main(list(command), standalone_mode=False)
        code = result if isinstance(result, int) else 0
    finally:
        os._exit(code)


def wait(process: int) -> int:
    """The exit code of a process, or the negative number of the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def finish(command: Sequence[str]) -> tuple[int, float]:
    """Run a command to its end: (exit code, seconds)."""
    started = time.monotonic()
    process, pipe = start(command)
    os.close(pipe)  # nobody reads: a step is told to nobody
    return wait(process), time.monotonic() - started


def killed(scene: Scene, name: str, seconds: float, expected: dict[str, str]) -> str:
    """Kill a command after so many seconds, and run it again; what is wrong, or nothing."""
    scene.clear()
    process, pipe = start(scene.commands[name])
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)
    wait(process)
    os.close(pipe)
    if half := scene.half_written():
        return f"half-written: {half}"
    code, _ = finish(scene.commands[name])
    if code:
        return f"the next run ended with {code}"
    found = scene.contents()
    if found != expected:
        different = [path for path in {*found, *expected} if found.get(path) != expected.get(path)]
        return f"after the next run these are not as after an undisturbed one: {sorted(different)}"
    return ""


def going_on(scene: Scene, photos: int, kills: int, chance: random.Random) -> str:
    """Kill the editing of a folder again and again, each time where it is; what is wrong, or nothing."""
    folder = scene.given / "many"
    folder.mkdir()
    for number in range(photos):
        size = chance.choice([(48, 64, 3), (64, 48, 3), (40, 40, 3)])
        pixels = np.random.default_rng(number).integers(0, 255, size, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03d}.png")
    command = ("apply", str(scene.given / "e1.safetensors"), str(folder), "-o", str(scene.work / "many"), "--resume")
    scene.clear()
    code, _ = finish(command)
    expected = scene.contents()
    assert (code, len(expected)) == (0, photos), f"apply itself ends with {code}"
    scene.clear()
    stamps: dict[Path, int] = {}
    for left in range(kills, -1, -1):
        process, pipe = start(command)
        os.close(pipe)
        if left:
            # Where it has made its share, and a moment later: within a photo, or between two.
            share, until = photos * (kills - left + 1) // (kills + 2), time.monotonic() + 60
            while len(list(scene.work.rglob("[!.]*.png"))) < share and time.monotonic() < until:
                time.sleep(0.001)
            time.sleep(chance.uniform(0, 0.01))
            os.kill(process, signal.SIGKILL)
        code = wait(process)
        found = {path: path.stat().st_mtime_ns for path in scene.work.rglob("*.png")}
        if half := scene.half_written():
            return f"half-written: {half}"
        if again := [path for path, stamp in stamps.items() if found.get(path) != stamp]:
            return f"made twice: {again}"
        print(f"{len(found)} of {photos} photos there, {len(stamps)} before; {left} more kills", flush=True)
        stamps = found
    if code:
        return f"the last run ended with {code}"
    return "" if scene.contents() == expected else "the files are not those of an undisturbed run"


def stopped(scene: Scene, number: int, seconds: float, expected: dict[str, str]) -> str:
    """Stop learning so many seconds after its first step; what is wrong, or nothing."""
    scene.clear()
    process, pipe = start(scene.learning)
    if not os.read(pipe, 1):
        return f"no step; it ended with {wait(process)}"
    time.sleep(seconds)
    os.kill(process, number)
    while os.read(pipe, 65536):
        pass
    os.close(pipe)
    code = wait(process)
    if code != 128 + number and (code or scene.contents() != expected):  # 0: it had finished just before
        return f"exit code {code}"
    if list(scene.contents()) != ["learned.safetensors"] or scene.half_written():
        return f"left behind: {list(scene.contents())}"
    return ""


def run() -> int:
    """The program; 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100, help="processes to kill; a third as many are stopped")
    parser.add_argument("--photos", type=int, default=200, help="of the folder that goes on; 0: leave it out")
    parser.add_argument("--kills", type=int, default=10, help="of that")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance, tried, findings = random.Random(options.seed), Counter[str](), 0
    with tempfile.TemporaryDirectory(prefix="vii-kill-") as folder, Hub() as hub:
        from huggingface_hub import constants

        constants.ENDPOINT = hub.url
        constants.HUGGINGFACE_CO_URL_TEMPLATE = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        scene = Scene(Path(folder), hub)
        os.environ["VII_LIBRARY"] = str(scene.work / "library")
        if options.photos and (wrong := going_on(scene, options.photos, options.kills, chance)):
            findings += 1
            print(f"going on: {wrong}", flush=True)
        expected, lasts = {}, {}
        for name, command in scene.commands.items() if options.rounds else ():
            scene.clear()
            code, lasts[name] = finish(command)
            assert code == 0, f"{name} itself ends with {code}"
            expected[name] = scene.contents()
        scene.clear()
        assert not options.rounds or finish(scene.learning)[0] == 0
        learned = scene.contents()
        rounds = [*(list(scene.commands) * options.rounds)[: options.rounds], *STOPPING * (options.rounds // 9)]
        for what in rounds:
            if isinstance(what, str):
                moment = chance.uniform(0, 1.1 * lasts[what])
                name, wrong = what, killed(scene, what, moment, expected[what])
            else:
                moment = chance.uniform(0, 0.5)
                name, wrong = signal.Signals(what).name, stopped(scene, what, moment, learned)
            tried[name] += 1
            if wrong:
                findings += 1
                print(f"{name} after {moment:.3f} s: {wrong}", flush=True)
    print(
        f"{dict(tried)} tried, {findings} findings; undisturbed seconds: { {k: round(v, 2) for k, v in lasts.items()} }"
    )
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(run())
