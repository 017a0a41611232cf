"""Colour transforms on pictures as files hold them: any depth, masks, no torch, no more memory than the result."""

import hashlib
import json
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import torch
from test_arrangement import DARK, DETAIL, SWAP

import vii
from vii.color_plan import ColorApplication, needs_editor
from vii.edit_file import to_bytes
from vii.errors import UsageError
from vii.finish import Finish
from vii.pictures import read_picture, write_picture

EDIT = vii.Edit(finish=Finish("color", DARK), title="dark")
PIXELS = np.random.default_rng(0).integers(0, 2**16, (37, 53, 3), np.uint16)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32, np.float64])
def test_whole_numbers_stay_what_they_are(kind):
    most = np.iinfo(kind).max if kind in (np.uint8, np.uint16) else 1
    pixels = (PIXELS / 65535 * most).astype(kind)
    result = ColorApplication(EDIT)(pixels)
    assert result.dtype == (np.float32 if most == 1 else kind)
    np.testing.assert_allclose(result / most, pixels / most / 2, atol=0.51 / most if most > 1 else 1e-6)


def test_the_same_as_an_application_gives():
    other = vii.Edit(finish=Finish("color", SWAP))
    edits = [(EDIT, 0.7), (other, -0.5)]
    photo = torch.from_numpy(PIXELS / 65535).float().permute(2, 0, 1)
    expected = vii.apply(None, edits, photo).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(ColorApplication(edits)(PIXELS) / 65535, expected, atol=1e-5)


def test_a_mask_is_exact_where_it_is_hard_and_mixes_where_it_is_soft():
    mask = np.zeros((37, 53), np.float32)
    mask[:, 20:40], mask[:, 40:] = 1, 0.25
    whole, result = (ColorApplication(EDIT)(PIXELS, m) for m in (None, mask))
    assert np.array_equal(result[:, :20], PIXELS[:, :20])
    assert np.array_equal(result[:, 20:40], whole[:, 20:40])
    np.testing.assert_allclose(result[:, 40:], PIXELS[:, 40:] * 0.75 + whole[:, 40:] * 0.25, atol=1)
    boxed = ColorApplication(EDIT)(PIXELS, (20, 0, 20, 37))
    assert np.array_equal(boxed[:, 20:40], whole[:, 20:40])
    assert np.array_equal(boxed[:, 40:], PIXELS[:, 40:])


@pytest.mark.parametrize("mask", [np.ones((5, 5), np.float32), (50, 0, 5, 5), (0, 0, 0, 5)])
def test_masks_that_do_not_fit_are_refused(mask):
    with pytest.raises(UsageError, match="photo"):
        ColorApplication(EDIT)(PIXELS, mask)


def test_whether_an_editor_has_a_part():
    assert not needs_editor(EDIT)
    assert not needs_editor([(EDIT, 0.5), (DETAIL, 0.0)])
    assert needs_editor(EDIT, "at night")
    assert needs_editor([EDIT, DETAIL])
    assert needs_editor(None, "at night")
    for edits in (None, [EDIT, DETAIL]):
        with pytest.raises(UsageError, match="use Application"):
            ColorApplication(edits)


def test_a_size_is_that_of_the_editor_it_was_learned_with():
    sized = vii.Edit(finish=Finish("color", DARK), resolution=16)
    assert ColorApplication(sized, size="editor")(PIXELS).shape == (16, 16, 3)
    with pytest.raises(UsageError, match="learned without an editor"):
        ColorApplication(EDIT, size="editor")


def test_its_record_names_no_editor():
    plan = ColorApplication([(EDIT, 0.5)])
    made = plan.record(PIXELS, names=["d"])
    assert made["edits"][0] == {
        "name": "d",
        "weight": 0.5,
        "sha256": EDIT.sha256(),
        "file_sha256": hashlib.sha256(to_bytes(EDIT)).hexdigest(),
        "consists_of": "colours, no editor needed",
    }
    assert (made["editor"], made["settings"], made["size"]) == ("", {}, [53, 37])
    assert set(made["versions"]) == {"vii", "numpy"}
    chunks = plan.chunks(PIXELS, (0, 0, 5, 5), names=["d"])
    assert chunks["parameters"].startswith('Size: 53x37, Edits: "d:0.5"')
    assert json.loads(chunks["vii"])["region"] == [0, 0, 5, 5]


def test_besides_the_result_hardly_any_memory():
    pixels = np.zeros((2000, 2000, 3), np.uint8)
    plan = ColorApplication([EDIT, EDIT])
    tracemalloc.start()
    try:
        result = plan(pixels)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < result.nbytes + 16_000_000


def test_from_file_to_file_without_torch(tmp_path):
    vii.save_edit(EDIT, tmp_path / "dark.safetensors")
    write_picture(PIXELS, tmp_path / "photo.png")
    code = (
        "import sys; folder = sys.argv[1]; from vii.edit_file import load_edit\n"
        "from vii.color_plan import ColorApplication, needs_editor\n"
        "from vii.pictures import read_picture, write_picture\n"
        "edit = load_edit(folder + '/dark.safetensors'); assert not needs_editor(edit)\n"
        "photo, plan = read_picture(folder + '/photo.png').pixels, ColorApplication(edit)\n"
        "result = plan(photo); write_picture(result, folder + '/out.png', text=plan.chunks(result))\n"
        "heavy = {'torch', 'scipy', 'diffusers', 'transformers'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)
    np.testing.assert_allclose(read_picture(tmp_path / "out.png").pixels, PIXELS / 2, atol=0.51)
