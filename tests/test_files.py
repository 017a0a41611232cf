"""What may be written over, whole or not at all, and what a killed process leaves behind."""

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import vii
from vii.errors import ImageError, OutputError
from vii.files import MARK, Outputs, made_by_vii, make_folder, mark, replacing
from vii.paths import expect_file, inside, is_file, is_folder, what_is


def write(path, data=b"somebody's own"):
    path.write_bytes(data)
    return path


def test_what_was_read_is_never_written_over_by_whatever_name(tmp_path):
    photo = write(tmp_path / "cat.png")
    (tmp_path / "link.png").symlink_to(photo)
    os.link(photo, tmp_path / "hard.png")
    (tmp_path / "inner").mkdir()
    for overwrite in (False, True):
        outputs = Outputs(overwrite=overwrite)
        outputs.reads(photo)
        for name in ("cat.png", "link.png", "hard.png", "./inner/../cat.png"):
            with pytest.raises(OutputError, match="is read by this run"):
                outputs.claim(f"{tmp_path}/{name}")
    outputs = Outputs(overwrite=True)
    outputs.reads(tmp_path / "link.png", tmp_path / "later.png")
    for name in ("cat.png", "later.png"):
        with pytest.raises(OutputError, match="is read by this run"):
            outputs.claim(tmp_path / name)


def test_a_folder_that_was_read_stands_for_its_files(tmp_path):
    write(tmp_path / "a.safetensors")
    outputs = Outputs(overwrite=True)
    outputs.reads(tmp_path)
    with pytest.raises(OutputError, match="is read by this run"):
        outputs.claim(tmp_path / "a.safetensors")
    outputs.claim(tmp_path / "b.safetensors")


def test_what_vii_did_not_make_needs_a_word(tmp_path):
    path = write(tmp_path / "a.png")
    with pytest.raises(OutputError, match=r"not made by vii; take another with -o, or give --overwrite"):
        Outputs(advice="take another with -o", consent="--overwrite").claim(path)
    assert path.read_bytes() == b"somebody's own"
    assert Outputs(overwrite=True).claim(path) == path
    assert Outputs().claim(write(tmp_path / "empty.png", b"")).name == "empty.png"


def test_vii_knows_its_own_files(tmp_path):
    edit = Path(vii.__file__).parent.parent / "learned_instructions"
    assert all(made_by_vii(path) for path in edit.glob("*.safetensors"))
    assert made_by_vii(write(tmp_path / "page.html", f"<!doctype html>\n{mark('.html')}\n<p>".encode()))
    assert made_by_vii(write(tmp_path / "look.cube", f"{mark('.cube')}\nLUT_3D_SIZE 2\n".encode()))
    assert made_by_vii(write(tmp_path / "scores.json", f'{{"generator": "{MARK}"}}'.encode()))
    assert not made_by_vii(write(tmp_path / "a.txt", b"Henry viii 1.2\0"))
    assert not made_by_vii(tmp_path / "none")


def test_two_results_of_one_name(tmp_path):
    outputs = Outputs()
    outputs.claim(tmp_path / "a.png", of="a.jpg")
    (tmp_path / "there").symlink_to(tmp_path)
    with pytest.raises(OutputError, match=r"a\.jpg and b/a\.jpg would both be written to"):
        outputs.claim(tmp_path / "there" / "a.png", of="b/a.jpg")


def test_places_that_cannot_be_written_are_found_early(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    cases = {
        tmp_path: "this is a folder",
        tmp_path / "pipe": "this is a pipe",
        tmp_path / "none" / "a": "cannot be written",
        tmp_path / ("n" * 300): "File name too long",
        tmp_path / "a\0b": "NUL",
        write(tmp_path / "file") / "a": "cannot be written",
    }
    for path, message in cases.items():
        with pytest.raises(OutputError, match=message):
            Outputs().claim(path)
        with pytest.raises(OutputError), replacing(path) as temporary:
            temporary.write_bytes(b"x")
    for path in (tmp_path / "file", tmp_path / "file" / "a", tmp_path / ("n" * 300), tmp_path / "a\0b"):
        with pytest.raises(OutputError):
            make_folder(path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "pipe"]


def test_whole_or_not_at_all(tmp_path):
    path = write(tmp_path / "a.txt")

    def fail():
        with replacing(path) as temporary:
            temporary.write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_bytes() == b"somebody's own"
    path.chmod(0o600)
    (tmp_path / "link.txt").symlink_to(path)
    with replacing(tmp_path / "link.txt") as temporary:
        temporary.write_bytes(b"whole")
    assert path.read_bytes() == b"whole"
    assert (tmp_path / "link.txt").is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(found.name for found in tmp_path.iterdir()) == ["a.txt", "link.txt"]


def test_new_files_follow_the_umask_and_threads_do_not_disturb_it(tmp_path):
    before = os.umask(0o027)
    try:

        def work(number):
            for turn in range(20):
                with replacing(tmp_path / f"{number}-{turn}") as temporary:
                    temporary.write_bytes(b"x")

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o640}
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)


WRITER = """
import sys, time
from vii.files import replacing
with replacing(sys.argv[1]) as temporary:
    temporary.write_bytes(b"half")
    print("writing", flush=True)
    sys.stdin.read()
"""


def test_the_next_run_removes_what_a_killed_one_left_and_nothing_else(tmp_path):
    start = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path / name)], **start) for name in "ab"]
    for writer in writers:
        assert writer.stdout.readline() == b"writing\n"
    write(tmp_path / ".mine.part")
    writers[0].send_signal(signal.SIGKILL)
    writers[0].wait()
    assert len(list(tmp_path.glob(".vii-*"))) == 2
    code = "import sys; from vii.files import check_writable; check_writable(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "c")], check=True)
    assert len(list(tmp_path.glob(".vii-*"))) == 1
    writers[1].communicate(b"")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine.part", "b"]


def test_asking_what_a_path_is_never_raises(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        write(tmp_path / "file")
        expected = {
            "file": "file",
            ".": "folder",
            "none": "",
            "file/below": "",
            "pipe": "a pipe",
            "socket": "a socket",
            "n" * 300: "out of reach (File name too long)",
            "a\0b": "out of reach (a NUL in its name)",
            "\udcff": "",
        }
        assert {name: what_is(f"{tmp_path}/{name}") for name in expected} == expected
    assert what_is("/dev/null") == "a device"
    assert is_file(tmp_path / "file")
    assert is_folder(tmp_path)
    for name, message in (("pipe", "expected a file, found a pipe"), (".", "found a folder"), ("none", "no such file")):
        with pytest.raises(ImageError, match=message):
            expect_file(tmp_path / name, ImageError)
    assert [path.name for path in inside(tmp_path, ImageError)] == ["file", "pipe", "socket"]
    for name in ("none", "file", "pipe", "n" * 300):
        with pytest.raises(ImageError, match="expected a folder"):
            inside(tmp_path / name, ImageError)
