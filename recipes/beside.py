"""Runs of whole commands, one way beside another, each in a process of its own, in one go.

    python recipes/beside.py learn [ROOT ...] --runs 3        two `vii learn` at once, against twice the time of one
    python recipes/beside.py folder [ROOT ...] --count 500    `vii apply` on a folder, against the bare networks
    python recipes/beside.py each --count 32                  `vii learn --each`, against as many commands
    python recipes/beside.py ray --count 400                  two actors of one thread each, against one

Each ROOT is a checkout of this project (this one if none is given), so that two states of it can be measured in turn.
What the environment says of threads is taken out of it: measured is what somebody gets who has set nothing. Needs an
idle machine.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

HERE = Path(__file__).parents[1]
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
WORDS = ("--editor", "embedded", "--text", "make it look like a watercolor painting")
SIZE = (384, 256)


@dataclass(frozen=True)
class Ran:
    """A command that has ended well: its seconds from start to end, its report where it printed one, and the most
    megabytes that it held in the first and the last third of its time, its start left out."""

    seconds: float
    report: dict
    early: float
    late: float


def run(root: Path, *arguments: str | Path) -> Ran:
    """Run a command of a checkout to its end."""
    started, held = time.perf_counter(), []
    with tempfile.TemporaryFile("w+") as out:
        environment = {name: value for name, value in os.environ.items() if name not in THREADS}
        command = [sys.executable, "-m", "vii", *map(str, arguments)]
        process = subprocess.Popen(command, cwd=root, env=environment, stdout=out, stderr=subprocess.DEVNULL)
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            held.append(watched.memory_info().rss / 1e6)
            time.sleep(0.05)
        seconds = time.perf_counter() - started
        if process.returncode:
            raise SystemExit(f"{root}: vii {' '.join(map(str, arguments))} ended with {process.returncode}")
        out.seek(0)
        lines = out.read().splitlines()
    report = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
    working = held[int(len(held) * report.get("startup_seconds", 0) / seconds) :] or held
    third = max(1, len(working) // 3)
    return Ran(seconds, report, max(working[:third]), max(working[-third:]))


def learn(roots: Sequence[Path], folder: Path, options: argparse.Namespace) -> str:
    """Two at once; 1.00 in the last column is what two that share the cores without loss would take."""
    times: dict[tuple[Path, int], list[float]] = {(root, number): [] for root in roots for number in (1, 2)}
    for turn in range(options.runs + 1):  # the first reads from the disk what the others find in memory
        for (root, number), seconds in times.items():
            pair = [root / "vii" / "demo" / f"{half}.png" for half in ("before", "after")]
            places = [folder / f"{place}.safetensors" for place in range(number)]
            with ThreadPoolExecutor() as pool:
                ran = [*pool.map(lambda place, pair=pair, root=root: run(root, "learn", *pair, "-o", place), places)]
            seconds += [max(one.seconds for one in ran)] if turn else []
    lines = ["| checkout | one alone (s) | two at once (s) | two at once / twice one alone |", "|---|---:|---:|---:|"]
    for root in roots:
        alone, both = (statistics.median(times[root, number]) for number in (1, 2))
        lines.append(f"| {root.name} | {alone:.1f} | {both:.1f} | {both / (2 * alone):.2f} |")
    return "\n".join(lines)


def folder(roots: Sequence[Path], folder: Path, options: argparse.Namespace) -> str:
    """Photos a second of `vii apply`, its start left out, as shares of those of the networks alone; and its memory."""
    photos(folder / "photos", options.count)
    ran: dict[Path, list[Ran]] = {root: [] for root in roots}
    bare: list[dict[str, float]] = []
    for turn in range(options.runs):
        bare.append(networks())
        for root in roots:
            out = folder / f"{root.name}-{turn}"
            ran[root].append(run(root, "apply", *WORDS, folder / "photos", "-o", out, "--json"))
            shutil.rmtree(out)
    name, unet = (max(one[name] for one in bare) for name in ("bare UNet and autoencoder", "bare UNet"))
    lines = ["| what | photos/s | of UNet and autoencoder | of the UNet | MB in the first third | MB in the last |"]
    lines += ["|---|---:|---:|---:|---:|---:|", f"| UNet and autoencoder alone | {name:.2f} | 1.00 | | | |"]
    for root in roots:
        pace = options.count / statistics.median(one.report["seconds"] for one in ran[root])
        early, late = (max(getattr(one, part) for one in ran[root]) for part in ("early", "late"))
        lines.append(f"| {root.name} | {pace:.2f} | {pace / name:.2f} | {pace / unet:.2f} | {early:.0f} | {late:.0f} |")
    return "\n".join(lines)


def networks() -> dict[str, float]:
    """Photos a second of the networks alone, in a process of their own, at the batch of `vii apply`."""
    code = (
        "import json, torch, vii\n"
        "from vii.evaluation.speed import editing_paces\n"
        "editor = vii.load_editor('embedded')\n"
        f"photos = [torch.rand(3, {SIZE[1]}, {SIZE[0]}) for _ in range(8)]\n"
        "print(json.dumps({pace.name: pace.samples_per_second for pace in editing_paces(editor, photos)}))"
    )
    environment = {name: value for name, value in os.environ.items() if name not in THREADS}
    share = "from vii.cores import share_cores\nshare_cores()\n"  # as the command line does, before torch is imported
    command = [sys.executable, "-c", share + code]
    return json.loads(subprocess.run(command, cwd=HERE, env=environment, check=True, capture_output=True).stdout)


def each(roots: Sequence[Path], folder: Path, options: argparse.Namespace) -> str:
    """Many edits by one command, and by a command each."""
    pairs = folder / "pairs"
    pairs.mkdir()
    photos(folder / "photos", options.count)
    for number, path in enumerate(sorted((folder / "photos").iterdir())):
        picture = Image.open(path)
        picture.save(pairs / f"{number}_0.png")
        Image.fromarray(255 - np.asarray(picture)[:, ::-1]).save(pairs / f"{number}_1.png")  # which is no colour map
    together = run(HERE, "learn", "--each", pairs, "-o", folder / "together", "--json")
    apart = []
    for number in range(options.count):
        files = [pairs / f"{number}_{half}.png" for half in (0, 1)]
        apart.append(run(HERE, "learn", *files, "-o", folder / f"{number}.safetensors", "--json").seconds)
    header = f"| {options.count} edits | seconds | seconds an edit | of commands apart |\n|---|---:|---:|---:|\n"
    rows = [("one command each", sum(apart)), ("--each", together.seconds)]
    return header + "\n".join(
        f"| {name} | {seconds:.1f} | {seconds / options.count:.2f} | {seconds / sum(apart):.2f} |"
        for name, seconds in rows
    )


def ray(roots: Sequence[Path], folder: Path, options: argparse.Namespace) -> str:
    """Photos a second of one and of two actors of one thread, from the difference of a longer and a shorter run, so
    that the start of the cluster and of the editors does not count."""
    few = options.count // 4
    photos(folder / "many", options.count)
    photos(folder / "few", few)
    paces = {}
    for actors in (1, 2):
        seconds = {}
        for name in ("few", "many"):
            engine = ("--engine", "ray", "--actors", actors, "--cpus", 1)
            out = folder / f"{name}-{actors}"
            seconds[name] = run(HERE, "apply", *WORDS, folder / name, "-o", out, *engine, "--json").report["seconds"]
        paces[actors] = (options.count - few) / (seconds["many"] - seconds["few"])
    lines = ["| actors | photos/s | of one |", "|---|---:|---:|"]
    return "\n".join([*lines, *(f"| {n} | {pace:.2f} | {pace / paces[1]:.2f} |" for n, pace in paces.items())])


def photos(folder: Path, count: int) -> None:
    """JPEGs of one size, smooth as photos are."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(random.integers(0, 255, (9, 13, 3), dtype=np.uint8))
        coarse.resize(SIZE, Image.Resampling.BICUBIC).save(folder / f"{number:05d}.jpg", quality=92)


if __name__ == "__main__":
    ways = {"learn": learn, "folder": folder, "each": each, "ray": ray}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=ways)
    parser.add_argument("roots", nargs="*", type=Path, default=[HERE], metavar="ROOT")
    parser.add_argument("--runs", type=int, default=3, help="of learn and folder, in turn; medians are told")
    parser.add_argument("--count", type=int, default=500, help="photos, or pairs")
    given = parser.parse_args()
    print(f"{len(os.sched_getaffinity(0))} cores, {given.count} photos or pairs, {given.runs} runs\n")
    with tempfile.TemporaryDirectory() as place:
        print(ways[given.what]([root.resolve() for root in given.roots], Path(place), given))
