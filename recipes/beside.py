"""Two `vii learn` at once on the cores of one, against twice the time of one alone.

    python recipes/beside.py [ROOT ...] --runs 3

Each ROOT is a checkout of this project (this one if none is given), so that two states of it can be measured in turn in
one run. What the environment says of threads is taken out of it: measured is what somebody gets who has set nothing.
1.00 in the last column is what two runs that share the cores without loss would take; needs an idle machine.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parents[1]
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def learn(root: Path, folder: Path, count: int) -> float:
    """Seconds until `count` processes that were started at once have all learned the shipped pair."""
    environment = {name: value for name, value in os.environ.items() if name not in THREADS}
    pair = [str(root / "vii" / "demo" / f"{half}.png") for half in ("before", "after")]
    started = time.perf_counter()
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "vii", "learn", *pair, "-o", str(folder / f"{number}.safetensors")],
            cwd=root,  # whose `vii` is then the one that is imported
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for number in range(count)
    ]
    codes = [process.wait() for process in running]
    if any(codes):
        raise SystemExit(f"{root}: vii learn ended with {codes}")
    return time.perf_counter() - started


def measure(roots: Sequence[Path], runs: int) -> str:
    """A Markdown table, of medians; the states are measured in turn, so that a slow minute hits all of them."""
    times: dict[tuple[Path, int], list[float]] = {(root, count): [] for root in roots for count in (1, 2)}
    with tempfile.TemporaryDirectory() as folder:
        for root in roots:
            learn(root, Path(folder), 1)  # what is read from the disk the first time
        for _ in range(runs):
            for (root, count), seconds in times.items():
                seconds.append(learn(root, Path(folder), count))
    lines = ["| checkout | one alone (s) | two at once (s) | two at once / twice one alone |", "|---|---|---|---|"]
    for root in roots:
        alone, both = (statistics.median(times[root, count]) for count in (1, 2))
        lines.append(f"| {root.name} | {alone:.1f} | {both:.1f} | {both / (2 * alone):.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("roots", nargs="*", type=Path, default=[HERE], metavar="ROOT")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    print(f"{len(os.sched_getaffinity(0))} cores, {options.runs} runs, medians\n")
    print(measure([root.resolve() for root in options.roots], options.runs))
