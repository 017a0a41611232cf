"""What `vii ui` takes in and leaves behind: room for uploads, uploads that break off, the folder of a page."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap

import pytest
from conftest import heeds_ctrl_c
from test_ui_guard import ask

from vii.ui import intake
from vii.ui.bodies import Refused
from vii.ui.intake import OWN, Intake, size_of
from vii.ui.session import session_folder


@pytest.fixture
def uploads(tmp_path, monkeypatch):
    """Three uploads of 40 bytes, an hour old and a second younger each, of 100 bytes that may be kept."""
    monkeypatch.setattr(intake, "MAX_UPLOADS", 130)
    paths = []
    for index in range(3):
        path = tmp_path / f"hash{index}" / "photo.png"
        path.parent.mkdir()
        path.write_bytes(b"x" * 40)
        age = path.stat().st_mtime - 3600 + index
        os.utime(path, (age, age))
        paths.append(path)
    (tmp_path / OWN).mkdir()
    (tmp_path / OWN / "result.png").write_bytes(b"x" * 10_000)
    return paths


def test_the_oldest_uploads_that_nobody_needs_give_way(tmp_path, uploads):
    room = Intake(tmp_path, in_use=lambda: {uploads[0]})
    assert room.uploads() == uploads
    with room.room(10):
        assert room.uploads() == uploads
    with room.room(50):
        assert room.uploads() == [uploads[0], uploads[2]]
        with pytest.raises(Refused, match="at most 130 are kept"), room.room(60):
            pass
    assert (tmp_path / OWN / "result.png").exists()


def test_what_was_dropped_a_moment_ago_stays(tmp_path, uploads):
    for path in uploads:
        os.utime(path)
    with pytest.raises(Refused, match=r"holds 120 bytes"), Intake(tmp_path).room(20):
        pass
    assert all(path.exists() for path in uploads)


def test_uploads_that_arrive_together_count_together(tmp_path, monkeypatch):
    monkeypatch.setattr(intake, "MAX_UPLOADS", 100)
    room = Intake(tmp_path)
    with room.room(60), pytest.raises(Refused), room.room(60):
        pass
    with room.room(60):
        pass
    with pytest.raises(Refused, match="taken at once"), room.room(intake.MAX_BODY + 1):
        pass


def test_a_disk_is_not_filled(tmp_path, monkeypatch):
    free = shutil.disk_usage(tmp_path)._replace(free=intake.SPARE + 5)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    with Intake(tmp_path).room(5):
        pass
    with pytest.raises(Refused, match="is full"), Intake(tmp_path).room(6):
        pass


def test_uploads_that_break_off_or_fail_leave_nothing(tmp_path, monkeypatch, capsys):
    """Through gradio itself: what it has written of them is gone, and its log is silent."""
    from vii.editors.toy import ToyEditor
    from vii.ui.server import make_app
    from vii.ui.studio import Studio

    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    monkeypatch.setattr(intake, "MAX_UPLOADS", 5_000_000)
    studio = Studio("toy", ToyEditor, tmp_path)
    app = make_app(studio, 7860)
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    part, end = b"x" * 100_000, b"\r\n--x--\r\n"

    def upload(*chunks, length=1_000_000):
        form = {"content_type": "multipart/form-data; boundary=x", "content_length": str(length)}
        return ask(app, "/gradio_api/upload", "POST", chunks=[head, *chunks], **form)[0]

    assert upload(part, part, None) == 400
    assert upload(part, part, end, length=150_000) == 413
    assert upload(part, end, length=6_000_000) == 413
    assert app.intake.uploads() == []
    assert upload(part, end) == 200
    assert [path.name for path in app.intake.uploads()] == ["a.png"]
    assert size_of(tmp_path) == 100_000
    assert app.intake._coming == 0
    studio.jobs.close()
    assert "Traceback" not in capsys.readouterr().err


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """A temporary folder of its own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_the_folder_of_a_page_is_private_and_goes_with_it(temporary):
    with session_folder() as folder:
        assert folder.parent == temporary
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "sub").mkdir()
        (folder / "sub" / "photo.png").write_bytes(b"x")
        with session_folder() as second:
            assert folder.exists()  # one that lives is left alone
            assert second != folder
    with pytest.raises(KeyboardInterrupt), session_folder():
        raise KeyboardInterrupt
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_leaves_nothing_behind(temporary, number):
    process, folder = page_process(temporary)
    process.send_signal(number)
    raised = "KeyboardInterrupt" if number == signal.SIGINT else f"Stopped: {number.name}"
    assert process.communicate(timeout=60)[1].strip().endswith(raised)
    assert not folder.exists()


def page_process(temporary):
    """A process that holds the folder of a page, and that folder."""
    code = """
        import sys, tempfile
        from vii.signals import stoppable
        from vii.ui.session import session_folder
        tempfile.tempdir = sys.argv[1]
        with stoppable(), session_folder() as folder:
            (folder / "photo.png").write_bytes(b"x")
            print(folder, flush=True)
            sys.stdin.read()
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(temporary)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, text=True, preexec_fn=heeds_ctrl_c, **pipes)
    return process, temporary / process.stdout.readline().strip()


def test_the_next_page_removes_what_a_killed_one_left(temporary):
    process, left = page_process(temporary)
    somebodys = temporary / "vii-ui-mine"
    somebodys.mkdir()  # without a lock: no page's
    with session_folder():
        assert left.exists()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (left / "photo.png").exists()
    with session_folder():
        assert not left.exists()
    assert list(temporary.iterdir()) == [somebodys]
