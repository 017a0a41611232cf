"""What a process may use, from files as control groups have them, and what torch is told of it."""

import os
import sys
from types import SimpleNamespace

import pytest

from vii import cores


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Lay out control groups: what this process belongs to, and file -> text under the mount."""
    monkeypatch.setattr(cores, "GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(cores, "MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr(cores, "_schedulable", lambda: 8)

    def lay(membership, files):
        (tmp_path / "membership").write_text(membership)
        for name, text in files.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return lay


@pytest.mark.parametrize(
    ("membership", "files", "count", "memory"),
    [
        ("0::/\n", {}, 8, None),
        ("0::/\n", {"cpu.max": "max 100000\n", "memory.max": "max\n"}, 8, None),
        ("0::/\n", {"cpu.max": "150000 100000\n", "memory.max": "2000000000\n"}, 2, 2_000_000_000),
        ("0::/a/b\n", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000", "a/memory.max": "7"}, 3, 7),
        ("0::/a/b\n", {"cpu.max": "50000 100000"}, 1, None),  # the mount shows the own group only
        ("0::/\n", {"cpu.max": "6400000 100000"}, 8, None),
        ("0::/\n", {"cpu.max": "nonsense"}, 8, None),
        (
            "4:memory:/x\n3:cpu,cpuacct:/x\n0::/x\n",
            {
                "cpu/x/cpu.cfs_quota_us": "250000",
                "cpu/x/cpu.cfs_period_us": "100000",
                "memory/x/memory.limit_in_bytes": "1000",
                "memory/memory.limit_in_bytes": "9223372036854771712",
            },
            3,
            1000,
        ),
        ("3:cpu,cpuacct:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8, None),
    ],
)
def test_limits_of_control_groups(groups, membership, files, count, memory):
    groups(membership, files)
    assert cores.cores() == count
    assert cores.memory_limit() == memory


def test_this_machine():
    assert 1 <= cores.cores() <= os.cpu_count()


@pytest.mark.parametrize(("told", "count"), [("3", 3), ("", 2), ("0", 2), ("2,1", 2)])
def test_threads_of_computations_of_ones_own(monkeypatch, told, count):
    monkeypatch.setattr(cores, "cores", lambda: 2)
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    assert cores.threads() == count


def test_torch_is_told_before_it_is_loaded_unless_the_user_has_said_otherwise(groups, monkeypatch):
    def told(**given):
        names = ("OMP_NUM_THREADS", "GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
        for name in names:
            monkeypatch.delenv(name, raising=False)
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        cores.share_cores()
        return {name: os.environ[name] for name in names if name in os.environ}

    groups("0::/\n", {})
    assert told() == {"GOMP_SPINCOUNT": "1000"}
    assert told(GOMP_SPINCOUNT="5") == {"GOMP_SPINCOUNT": "5"}
    assert told(OMP_WAIT_POLICY="ACTIVE") == {"OMP_WAIT_POLICY": "ACTIVE"}
    groups("0::/\n", {"cpu.max": "200000 100000"})
    assert told() == {"GOMP_SPINCOUNT": "1000", "OMP_NUM_THREADS": "2"}
    assert told(OMP_NUM_THREADS="7") == {"GOMP_SPINCOUNT": "1000", "OMP_NUM_THREADS": "7"}


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's own")
def test_freed_memory_is_kept_unless_the_user_has_said_otherwise(groups, monkeypatch):
    asked = []
    monkeypatch.setattr(cores.ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=lambda *of: asked.append(of)))
    groups("0::/\n", {})
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    cores.share_cores()
    assert not asked
    monkeypatch.delenv("MALLOC_ARENA_MAX")
    cores.share_cores()
    assert dict(asked) == {-3: 2**25, -1: 2**28}  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD of malloc.h
    monkeypatch.setattr(cores.ctypes, "CDLL", lambda name: object())  # another library of C
    cores.share_cores()
