"""Files by URL, in fsspec's file system in memory: read, listed, written, and the same rules for what is there."""

import io
import json

import numpy as np
import pytest
from conftest import picture
from PIL import Image
from test_cli import refused, run

import vii
from vii.errors import ImageError, OutputError, UsageError
from vii.storage import fetched, files_in, is_elsewhere, location, stored

pytest.importorskip("upath")


@pytest.fixture
def bucket():
    """An empty place elsewhere."""
    place = location("memory://bucket")
    yield place
    place.fs.store.clear()
    place.fs.pseudo_dirs[:] = [""]


def put(place, number=0, *, made="PNG"):
    """A photo, written there by somebody."""
    data = io.BytesIO()
    Image.fromarray((picture(number, 40, 56).permute(1, 2, 0).numpy() * 255).astype(np.uint8)).save(data, made)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data.getvalue())


def test_places(bucket, tmp_path):
    assert location(tmp_path) == tmp_path
    assert not is_elsewhere(location(str(tmp_path)))
    assert is_elsewhere(bucket)
    for url in ("nowhere://x/y", "s3x://bucket"):
        with pytest.raises(UsageError, match="://"):
            location(url)


def test_files_are_listed_fetched_and_sent(bucket):
    for name in ("b.png", "a/c.png", ".hidden/d.png", "a/.e.png"):
        put(bucket / name)
    assert [str(file) for file in files_in(bucket)] == [f"memory://bucket/{name}" for name in ("a", "a/c.png", "b.png")]
    assert [file.name for file in files_in(bucket, recursive=False)] == ["a", "b.png"]
    with fetched(bucket / "b.png") as copy:
        assert copy.read_bytes() == (bucket / "b.png").read_bytes()
    assert not copy.exists()
    with stored(bucket / "new" / "f.txt") as copy:
        copy.write_text("x")
        assert not (bucket / "new" / "f.txt").exists()
    assert (bucket / "new" / "f.txt").read_text() == "x"
    with pytest.raises(OutputError, match="memory://bucket/g"), stored(bucket / "g.png") as copy:
        raise OutputError(f"{copy}: no")
    assert not (bucket / "g.png").exists()
    with pytest.raises(ImageError, match="cannot be read"), fetched(bucket / "none.png"):
        pass


def test_photos_and_results_by_url(tmp_path, bucket, toy_edit):
    vii.save_edit(toy_edit, tmp_path / "bands.safetensors")
    for number, name in enumerate(("0.png", "1.png", "below/2.png")):
        put(bucket / "photos" / name, number)
        put(location(tmp_path / "photos" / name), number)
    (bucket / "photos" / "raw.cr2").write_bytes(b"raw")
    run("apply", tmp_path / "bands.safetensors", tmp_path / "photos", "-r", "-o", tmp_path / "out")
    command = ("apply", tmp_path / "bands.safetensors", "memory://bucket/photos", "-o", "memory://bucket/out", "--json")
    out, err = run(*command, "-r")
    assert "raw.cr2" in err
    assert json.loads(out.splitlines()[-1])["kept"] == 0
    for name in ("0.png", "1.png", "below/2.png"):
        assert (bucket / "out" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()
    (bucket / "out" / "1.png").write_bytes((bucket / "out" / "1.png").read_bytes()[:-100])
    assert json.loads(run(*command, "-r", "--resume")[0].splitlines()[-1])["kept"] == 2
    assert len(run(*command)[0].splitlines()) == 3  # without sub-folders
    # What is somebody's own is left alone, and what is read never written over.
    put(bucket / "out" / "0.png", 7)
    out, err = run(*command, code=1)
    assert "memory://bucket/out/0.png is there already, and not made by vii" in err
    assert "--overwrite" in err
    run(*command, "--overwrite")
    assert "would be overwritten" in refused(*command[:4], "memory://bucket/photos")
    assert "cannot be listed" in refused(*command[:2], "memory://bucket/none", *command[3:])


def test_one_photo_and_its_result(tmp_path, bucket, toy_edit):
    vii.save_edit(toy_edit, tmp_path / "bands.safetensors")
    put(bucket / "a.png")
    out, _ = run("apply", tmp_path / "bands.safetensors", "memory://bucket/a.png", "-o", "memory://bucket/b.jpg")
    assert out.strip() == "memory://bucket/b.jpg"
    assert Image.open(io.BytesIO((bucket / "b.jpg").read_bytes())).format == "JPEG"
    (bucket / "bad.png").write_bytes(b"no picture")
    line = refused("apply", tmp_path / "bands.safetensors", "memory://bucket/bad.png", "-o", tmp_path / "b.png")
    assert "memory://bucket/bad.png: not a picture" in line
