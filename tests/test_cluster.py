"""Runs on Ray: a simulated cluster of three nodes, workers that are lost, places by URL; nobody else needs it."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import picture
from test_cli import refused, run
from test_runs import contents

import vii
from vii.errors import EditorError, UsageError
from vii.runs.cluster import RETRIES, Cluster
from vii.runs.jobs import Job
from vii.runs.plans import Request
from vii.runs.tasks import BATCH, PIECE, Applying

ROOT = Path(__file__).parent.parent
TOY = ("--editor", "toy", "--init", "none", "--tokens", "4", "--set", "steps=8", "--set", "batch_size=2")


@pytest.fixture(scope="module")
def nodes():
    """Three nodes of one core, each with processes of its own."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster as Simulated

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests")]))
        # Beside other work a node may take longer to start than Ray waits.
        patch.setenv("RAY_agent_register_timeout_ms", "300000")
        patch.setenv("RAY_worker_niceness", "0")  # 15 is Ray's own: beside other work a worker would never start
        simulated = Simulated()
        for number in range(3):
            first = {} if number else {"include_dashboard": False}
            simulated.add_node(num_cpus=1, object_store_memory=80_000_000, **first)
        ray.init(address=simulated.address, log_to_driver=False, logging_level="ERROR")
        yield len([node for node in ray.nodes() if node["Alive"]])
        ray.shutdown()
        simulated.shutdown()


@pytest.fixture
def bands(tmp_path, toy_edit):
    """An edit for the toy editor."""
    vii.save_edit(toy_edit, tmp_path / "bands.safetensors")
    return tmp_path / "bands.safetensors"


@pytest.fixture
def photos(tmp_path):
    """A folder of photos of two sizes, one of them in a sub-folder."""
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    for number in range(20):
        name = f"below/{number:02d}.png" if number == 7 else f"{number:02d}.png"
        vii.save_image(picture(number, 40, 56 if number % 3 else 40), folder / name)
    return folder


@dataclass(frozen=True)
class Dying(Applying):
    """Applying, by workers that are killed: one, or whoever starts a photo of this name."""

    marker: str = ""
    always: bool = False

    def start(self):
        work, warnings = super().start()

        def dying(jobs):
            for number, outcome in enumerate(work(jobs)):
                yield outcome
                if number == 1 and (self.always or not Path(self.marker).exists()):
                    Path(self.marker).touch()
                    os.kill(os.getpid(), signal.SIGKILL)

        return dying, [*warnings, "this one dies"]


def applied(*arguments, code=0):
    """The report of `vii apply --json`, its paths sorted: pieces are done in any order."""
    out, _ = run("apply", *arguments, "--json", code=code)
    report = json.loads(out.splitlines()[-1])
    return report | {"paths": sorted(report["paths"])}


def test_three_nodes_make_the_files_of_one_process_and_go_on(tmp_path, nodes, bands, photos):
    assert nodes == 3
    command, ray = (bands, photos, "-r", "--batch", "2"), ("--engine", "ray")
    run("apply", *command, "-o", tmp_path / "alone")
    (photos / "bad.png").write_bytes(b"no picture")
    report = applied(*command, *ray, "-o", tmp_path / "spread", code=1)
    assert (len(report["paths"]), report["failed"], report["kept"]) == (20, 1, 0)
    assert "not a picture" in report["skipped"][str(photos / "bad.png")]
    assert contents(tmp_path / "spread") == contents(tmp_path / "alone")
    (photos / "bad.png").unlink()
    for number in (3, 11):
        (tmp_path / "spread" / f"{number:02d}.png").unlink()
    report = applied(*command, *ray, "-o", tmp_path / "spread", "--resume", "--actors", "2")
    assert (len(report["paths"]), report["kept"]) == (20, 18)
    # From and to what fsspec opens, with the same records.
    report = applied(bands, f"file://{photos}", "-r", *ray, "--batch", "2", "-o", f"file://{tmp_path}/sent")
    assert report["paths"][0] == f"file://{tmp_path}/sent/00.png"
    assert contents(tmp_path / "sent") == contents(tmp_path / "alone")
    assert applied(*command, "-o", tmp_path / "sent", "--resume")["kept"] == 20


def test_a_worker_that_is_killed_loses_nothing(tmp_path, nodes, bands, photos):
    run("apply", bands, photos, "-o", tmp_path / "alone", "--batch", "2")
    (tmp_path / "out").mkdir()
    jobs = [Job(photo, tmp_path / "out" / photo.name) for photo in sorted(photos.glob("*.png"))]
    request = Request([(vii.load_edit(bands), 1.0)], ["bands"], {"editor": "toy"}, batch=2)
    warnings = []
    task = Dying(request, marker=str(tmp_path / "killed"))
    found = list(Cluster(actors=2).run(task, jobs, warnings.append))
    assert (tmp_path / "killed").exists()
    assert sorted(outcome.job.photo for outcome in found) == sorted(job.photo for job in jobs)
    assert not [outcome.error for outcome in found if outcome.error]
    assert contents(tmp_path / "out") == contents(tmp_path / "alone")
    assert warnings == ["this one dies"]
    with pytest.raises(EditorError, match=f"{RETRIES} times anew"):
        list(Cluster(actors=1).run(Dying(request, marker=str(tmp_path / "killed"), always=True), jobs[:4], print))


def test_many_edits_are_learned_by_several_actors(tmp_path, nodes):
    for number in range(4):
        (tmp_path / "pairs").mkdir(exist_ok=True)
        for half, light in (("before", 1.0), ("after", 0.5)):
            vii.save_image((0.3 + 0.4 * picture(number, 32, 32)) * light, tmp_path / "pairs" / f"{number}_{half}.png")
    run("learn", "--each", tmp_path / "pairs", "-o", tmp_path / "alone", *TOY)
    run("learn", "--each", f"file://{tmp_path}/pairs", "-o", f"file://{tmp_path}/spread", *TOY, "--engine", "ray")
    assert contents(tmp_path / "spread") == contents(tmp_path / "alone")
    out, _ = run(
        "learn", "--each", tmp_path / "pairs", "-o", tmp_path / "spread", *TOY, "--engine", "ray", "--resume", "--json"
    )
    assert json.loads(out.splitlines()[-1])["kept"] == 4


def test_what_cannot_be_done_is_one_line(tmp_path, nodes, bands, photos):
    command = (bands, photos, "-o", tmp_path / "out")
    assert "give --engine ray too" in refused("apply", *command, "--actors", "2")
    assert "--actors: the cluster has room for 3" in refused("apply", *command, "--engine", "ray", "--actors", "4")
    assert "num_inference_steps" in refused("apply", *command, "--engine", "ray", "--steps", "5")


def test_pieces_are_whole_batches_and_some_for_each_worker():
    task = Applying(Request([], [], None))
    for items, workers in ((500, 1), (500, 8), (1_000_000, 8), (5, 3), (1, 1)):
        piece = task.piece(items, workers)
        assert piece % BATCH == 0
        assert BATCH <= piece <= PIECE
    assert task.piece(500, 8) == 16
    assert Applying(Request([], [], None, batch=100)).piece(10_000, 8) == 100


def test_nothing_imports_ray_unless_it_is_asked_for(tmp_path, bands, photos):
    code = (
        "import sys\nfrom vii.cli import main\nmain(sys.argv[1:], standalone_mode=False)\n"
        "assert not {'ray', 'upath', 'pyarrow'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", code, "apply", str(bands), str(photos), "-o", str(tmp_path / "out")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)


def test_without_ray_the_way_out_is_said(tmp_path, bands, photos, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    line = refused("apply", bands, photos, "-o", tmp_path / "out", "--engine", "ray")
    assert "pip install 'vii[ray]'" in line
    with pytest.raises(UsageError, match="ray"):
        list(Cluster().run(Applying(Request([], [], None)), [1], print))
