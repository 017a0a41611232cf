"""The finish as a value: what goes into a file and comes back, and what is refused there."""

import json

import numpy as np
import pytest

from vii.finish import ColorTransform, Finish, Lut
from vii.finish.terms import Terms

RNG = np.random.default_rng(1)
PHOTO = RNG.random((9, 8, 3), dtype=np.float32)
TERMS = Terms(2, ("red", "luma 709"), 9, "border", 5)
SHARP = Terms(1, radii=(1 / 64, 1 / 32))
FINISHES = {
    "color": Finish(
        "color", ColorTransform(TERMS, RNG.normal(size=(len(TERMS), 3)).astype("f4") * 0.1), errors={"color": 41.0}
    ),
    "sharpness": Finish("color", ColorTransform(SHARP, RNG.normal(size=(len(SHARP), 3)).astype("f4") * 0.1)),
    "lut": Finish("color", Lut(RNG.random((5, 5, 5, 3), dtype=np.float32), (-0.5, 0, 0), (1, 1, 2))),
    "detail": Finish("detail", residual=1 / 32, correction=RNG.random((7, 3), dtype=np.float32)),
    "plain detail": Finish("detail"),
    "editor": Finish("editor", errors={"editor": 20.126, "color": 12.0}),
}


@pytest.mark.parametrize("name", FINISHES)
def test_a_finish_comes_back_from_its_parts(name):
    finish = FINISHES[name]
    fields = json.loads(json.dumps(finish.fields()))
    back = Finish.from_parts(fields, finish.tensors())
    assert (back.kind, back.residual) == (finish.kind, finish.residual)
    assert back.fields() == finish.fields()
    assert back.describe() == finish.describe()
    assert back.needs_editor is (finish.kind != "color")
    assert back.tensors().keys() == finish.tensors().keys()
    for key, array in back.tensors().items():
        np.testing.assert_array_equal(array, finish.tensors()[key])
    if finish.color is not None:
        np.testing.assert_array_equal(back.color(PHOTO), finish.color(PHOTO))


def test_one_line_says_what_an_edit_consists_of():
    said = {name: finish.describe() for name, finish in FINISHES.items()}
    assert said["color"] == "colours and light by place, no editor needed"
    assert said["sharpness"] == "colours and sharpness, no editor needed"
    assert said["lut"] == "colours, no editor needed"
    assert said["detail"] == "tokens, with detail from the photo and corrected colours"
    assert len(set(said.values())) == len(said)


COLOR, DETAIL = FINISHES["color"], FINISHES["detail"]
BAD = {
    "no kind": ({}, {}),
    "unknown kind": ({"kind": "magic"}, {}),
    "colour without a transform": ({"kind": "color"}, {}),
    "editor with a residual": ({"kind": "editor", "residual": 0.0}, {}),
    "unknown field": ({"kind": "editor", "brightness": 1}, {}),
    "unknown array": ({"kind": "editor"}, {"color": np.zeros((4, 3))}),
    "array of another shape": (COLOR.fields(), {"color": np.zeros((4, 3))}),
    "not finite": (DETAIL.fields(), {"correction": np.full((7, 3), np.inf)}),
    "residual too large": ({"kind": "detail", "residual": 7.0}, {}),
    "residual not a number": ({"kind": "detail", "residual": "much"}, {}),
    "error not finite": ({"kind": "editor", "errors": {"editor": float("nan")}}, {}),
    "errors a list": ({"kind": "editor", "errors": [1]}, {}),
    "terms a list": ({"kind": "color", "terms": [1]}, COLOR.tensors()),
    "terms unknown": ({"kind": "color", "terms": {"degree": 1, "magic": 1}}, {"color": np.zeros((4, 3))}),
    "degree a fraction": ({"kind": "color", "terms": {"degree": 1.5}}, {"color": np.zeros((4, 3))}),
    "knots by the million": (
        {"kind": "color", "terms": {"degree": 1, "axes": ["red"], "knots": 10**6}},
        COLOR.tensors(),
    ),
    "radius too large": ({"kind": "color", "terms": {"degree": 1, "radii": [2.0]}}, {"color": np.zeros((7, 3))}),
    "radius not a number": ({"kind": "color", "terms": {"degree": 1, "radii": ["r"]}}, {"color": np.zeros((7, 3))}),
    "radius not finite": (
        {"kind": "color", "terms": {"degree": 1, "radii": [float("nan")]}},
        {"color": np.zeros((7, 3))},
    ),
    "axes a number": ({"kind": "color", "terms": {"degree": 1, "axes": 3, "knots": 2}}, COLOR.tensors()),
    "domain upside down": (FINISHES["lut"].fields() | {"domain": [[1, 1, 1], [0, 0, 0]]}, FINISHES["lut"].tensors()),
    "domain of two": (FINISHES["lut"].fields() | {"domain": [[0, 0], [1, 1]]}, FINISHES["lut"].tensors()),
    "table not a cube": (FINISHES["lut"].fields(), {"lut": np.zeros((5, 5, 4, 3))}),
}


@pytest.mark.parametrize("name", BAD)
def test_parts_that_make_no_finish_are_refused(name):
    with pytest.raises(ValueError, match=r"."):
        Finish.from_parts(*BAD[name])


def test_a_colour_transform_is_no_result_of_an_editor():
    with pytest.raises(ValueError, match="applied to the photo itself"):
        COLOR.finish(PHOTO, PHOTO, PHOTO)
