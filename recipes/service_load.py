"""`vii serve` under many clients at once, against calling the library.

    python recipes/service_load.py learned_instructions/dream.safetensors photo.jpg --clients 50 --seconds 120

A service is started on this machine and asked by so many clients, each again as soon as it is answered. Printed are
requests, failures, the longest queue, the memory of the service a quarter of the way through and at the end, latencies,
and requests a second beside photos a second of the library, called for one photo after the other in a process of its
own. Nothing else may run.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from vii.service.client import Service

HERE = Path(__file__).parents[1]
LIBRARY = """
import sys, tempfile, time
from pathlib import Path
import vii
from vii.runs.jobs import Job, Writing, edited
from vii.runs.plans import Request
options = dict(text="", join_text=False, seed=0, reuse_noise=None, finish="auto", size="photo", any_model=False)
editor, edit = vii.load_editor(), vii.load_edit(sys.argv[1])
took = []
with tempfile.TemporaryDirectory() as folder:
    job, end = Job(Path(sys.argv[2]), Path(folder) / "out.png"), time.perf_counter() + float(sys.argv[3])
    while time.perf_counter() < end or len(took) < 3:
        started = time.perf_counter()
        plan, _ = Request([(edit, 1.0)], ["edit"], {}, batch=1, options=options).plan(editor)
        (outcome,) = edited([job], plan, Writing())
        assert outcome.error is None
        took.append(time.perf_counter() - started)
print(*took)
"""


def percentiles(seconds: Sequence[float]) -> str:
    """The median, and the 95th and 99th of a hundred, in milliseconds."""
    parts = statistics.quantiles(seconds, n=100, method="inclusive")
    return " | ".join(f"{1000 * parts[at]:.0f}" for at in (49, 94, 98))


def measures(service: Service) -> dict[str, float]:
    """What the service says of itself."""
    request = urllib.request.Request(f"{service}/metrics", headers={"authorization": f"Bearer {service.token}"})
    with urllib.request.urlopen(request) as answer:
        found = re.findall(r"^(\w+) ([\d.e+-]+)$", answer.read().decode(), re.MULTILINE)
    return {name: float(value) for name, value in found}


def loaded(service: Service, edit: Path, photo: Path, clients: int, seconds: float) -> None:
    """Ask it, and print a table."""
    took: list[float] = []
    failures: list[str] = []
    pictures: set[int] = set()
    end = time.monotonic() + seconds

    def client() -> None:
        while time.monotonic() < end:
            started = time.perf_counter()
            try:
                picture, _ = service.post([("edits", "#0")], [("photo", photo), ("files", edit)])
                pictures.add(hash(picture))
                took.append(time.perf_counter() - started)
            except Exception as error:
                failures.append(str(error))

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    seen = []
    while any(thread.is_alive() for thread in threads):
        seen.append(measures(service))
        time.sleep(0.5)
    early, late = (seen[at]["process_resident_memory_bytes"] / 1e6 for at in (len(seen) // 4, -1))
    longest = max(one["vii_requests_here"] for one in seen)
    print(f"{len(took)} answered, {len(failures)} failed, {len(pictures)} different pictures; {clients} clients")
    print(
        f"at most {longest:.0f} of {seen[0]['vii_requests_limit']:.0f} places taken; {early:.0f} MB, then {late:.0f} MB"
    )
    print(*sorted(set(failures))[:5], sep="\n")
    print("\n| | a second | median, ms | 95 % | 99 % |\n|---|---|---|---|---|")
    print(f"| {clients} clients | {len(took) / seconds:.2f} | {percentiles(took)} |")


def main() -> None:
    """Measure both."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("edit", type=Path)
    arguments.add_argument("photo", type=Path)
    arguments.add_argument("--clients", type=int, default=50)
    arguments.add_argument("--seconds", type=float, default=120)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"VII_LIBRARY": folder}
        command = [sys.executable, "-m", "vii", "serve", "--port", "0", "--queue", str(given.clients)]
        with subprocess.Popen(command, cwd=HERE, env=environment, stdout=subprocess.PIPE, text=True) as serving:
            assert serving.stdout is not None
            try:
                service = Service.at(serving.stdout.readline().split()[0])
                service.post([("edits", "#0")], [("photo", given.photo), ("files", given.edit)])
                loaded(service, given.edit, given.photo, given.clients, given.seconds)
                one: list[float] = []
                for _ in range(20):
                    started = time.perf_counter()
                    service.post([("edits", "#0")], [("photo", given.photo), ("files", given.edit)])
                    one.append(time.perf_counter() - started)
                print(f"| one client | {1 / statistics.mean(one):.2f} | {percentiles(one)} |")
            finally:
                serving.terminate()
        alone = [sys.executable, "-c", LIBRARY, str(given.edit.resolve()), str(given.photo.resolve()), "10"]
        took = [
            *map(float, subprocess.run(alone, check=True, stdout=subprocess.PIPE, text=True, cwd=HERE).stdout.split())
        ]
        print(f"| the library | {1 / statistics.mean(took):.2f} | {percentiles(took)} |")


if __name__ == "__main__":
    main()
