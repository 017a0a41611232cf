"""The edit file: its bytes, what survives a round trip, and everything that is refused."""

import contextlib
import dataclasses
import hashlib
import json
import pickle
import struct

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vii
import vii.edit_file
from vii.edit import check_labels
from vii.edit_file import MAX_BYTES, describe_edit, from_bytes, to_bytes
from vii.editor import Space
from vii.errors import EditFileError, OutputError, UsageError
from vii.finish import ColorTransform, Finish
from vii.finish.terms import Terms
from vii.library import edit_files

FULL = vii.Edit(
    tokens=torch.tensor([[1.0, -2.5, 3e-7], [0.1, 65504.0, -0.0]]) / 7,
    space=Space("encoder_output", "CLIPTextModel", 3, 77, "someone/model", "ab" * 16, "main"),
    editor="ip2p",
    init_text='make it "blau" 雪',
    start=1,
    resolution=512,
    settings={"guidance_scale": 7.5, "scheduler": "ddim"},
    training={"seed": 3, "explained": 0.5},
    pairs=("00" * 32,),
    title="Blue",
    description="turns things blue",
    author="A. Person",
    license="CC0-1.0",
    tags=("blue", "cold"),
    thumbnail="data:image/jpeg;base64,/9j/",
)


def rebuilt(metadata=None, tensors=None):
    """The bytes of FULL with other metadata or tensors, written by the safetensors library."""
    size = int.from_bytes(to_bytes(FULL)[:8], "little")
    own = json.loads(to_bytes(FULL)[8 : 8 + size])["__metadata__"]
    merged = {key: value for key, value in {**own, **(metadata or {})}.items() if value is not None}
    return safetensors.torch.save(tensors or {"tokens": FULL.tokens}, merged)


def test_round_trip_keeps_every_field_and_every_bit(tmp_path):
    path = tmp_path / "blue.safetensors"
    vii.save_edit(FULL, path)
    loaded = vii.load_edit(path)
    assert torch.equal(loaded.tokens.view(torch.int32), FULL.tokens.view(torch.int32))
    for field in dataclasses.fields(vii.Edit):
        if field.name not in ("tokens", "pooled"):
            assert getattr(loaded, field.name) == getattr(FULL, field.name), field.name
    assert path.stat().st_size < 4000


def test_golden_bytes():
    """The layout written out by hand, so that a change of format cannot pass unnoticed."""
    space = Space("encoder_output", "E", 2, 4, "m", "f")
    edit = vii.Edit(torch.tensor([[1.0, 2.0]]), space, "e", "w", 1, 8)
    data = struct.pack("<2f", 1.0, 2.0)
    header = (
        '{"__metadata__":{"modelspec.architecture":"e/visual-instruction",'
        f'"modelspec.hash_sha256":"0x{hashlib.sha256(data).hexdigest()}",'
        '"modelspec.implementation":"vii","modelspec.resolution":"8x8","modelspec.sai_model_spec":"1.0.1",'
        '"vii.base_model":"m","vii.base_model_fingerprint":"f","vii.editor":"e","vii.encoder":"E",'
        '"vii.format_version":"2","vii.init_text":"w","vii.length":"4","vii.pairs":"[]","vii.settings":"{}",'
        '"vii.space":"encoder_output","vii.start":"1","vii.tags":"[]","vii.training":"{}"},'
        '"tokens":{"data_offsets":[0,8],"dtype":"F32","shape":[1,2]}}'
    ).encode()
    header += b" " * (-len(header) % 8)
    assert to_bytes(edit) == struct.pack("<Q", len(header)) + header + data


def version_1(edit=None, **fields):
    """The bytes that vii 0.1 wrote: one tensor, tags as one text, another fingerprint."""
    edit = FULL if edit is None else edit
    own = {"vii.format_version": "1", "vii.base_model_fingerprint": "875c5a4851a5bc13306dbb2345d20a35", **fields}
    return rebuilt({**own, "vii.tags": None})


def test_version_1_by_hand():
    """Its bytes written out, and what they are read as."""
    data = struct.pack("<2f", 1.0, -2.0)
    header = (
        '{"__metadata__":{"modelspec.architecture":"e/visual-instruction",'
        f'"modelspec.hash_sha256":"0x{hashlib.sha256(data).hexdigest()}",'
        '"modelspec.implementation":"vii","modelspec.resolution":"8x8","modelspec.sai_model_spec":"1.0.1",'
        '"modelspec.tags":"blue, cold","modelspec.title":"a\\u001b[2Jb","vii.base_model":"m",'
        '"vii.base_model_fingerprint":"f","vii.editor":"e","vii.encoder":"E","vii.format_version":"1",'
        '"vii.init_text":"w","vii.length":"4","vii.pairs":"[\\"00\\"]","vii.settings":"{\\"steps\\": 3}",'
        '"vii.space":"encoder_output","vii.start":"1","vii.training":"{}"},'
        '"tokens":{"data_offsets":[0,8],"dtype":"F32","shape":[1,2]}}'
    ).encode()
    header += b" " * (-len(header) % 8)
    edit = from_bytes(struct.pack("<Q", len(header)) + header + data)
    assert edit.tokens.tolist() == [[1.0, -2.0]]
    assert edit.space == Space("encoder_output", "E", 2, 4, "m", "f")
    assert (edit.editor, edit.init_text, edit.start, edit.resolution) == ("e", "w", 1, 8)
    assert (edit.settings, edit.pairs, edit.tags) == ({"steps": 3}, ("00",), ("blue", "cold"))
    assert (edit.title, edit.format_version, edit.finish) == ("a [2Jb", 1, None)


def test_what_version_1_does_not_have_is_refused_in_it():
    with pytest.raises(EditFileError, match="one tensor named 'tokens'"):
        from_bytes(rebuilt({"vii.format_version": "1"}, {"tokens": FULL.tokens, "pooled": torch.zeros(3)}))
    assert from_bytes(version_1()).tags == ("blue", "cold")


def test_version_1_becomes_version_2_when_it_is_saved():
    old = from_bytes(version_1())
    new = from_bytes(to_bytes(old))
    assert (old.format_version, new.format_version) == (1, 2)
    assert (new.sha256(), new.space, new.tags) == (old.sha256(), old.space, old.tags)


COEFFICIENTS = np.linspace(0, 1, 12, dtype=np.float32).reshape(4, 3)
COLORS = Finish("color", ColorTransform(Terms(1), COEFFICIENTS), errors={"color": 40.5})


def test_a_finish_goes_with_tokens_or_alone(tmp_path):
    for edit in (
        dataclasses.replace(FULL, finish=COLORS, pooled=torch.arange(4.0)),
        vii.Edit(finish=COLORS, title="L"),
    ):
        vii.save_edit(edit, tmp_path / "f.safetensors")
        loaded = vii.load_edit(tmp_path / "f.safetensors")
        assert np.array_equal(loaded.finish.color.coefficients, COEFFICIENTS)
        assert loaded.finish.fields() == COLORS.fields()
        assert (loaded.needs_editor, loaded.consists_of) == (False, "colours, no editor needed")
        assert torch.equal(loaded.tokens, edit.tokens.reshape(loaded.tokens.shape))
        assert torch.equal(loaded.pooled, edit.pooled)
        assert loaded.sha256() == edit.sha256()
        loaded.check_space(FULL.space)
        assert json.dumps(describe_edit(loaded))
    assert (loaded.num_tokens, loaded.editor, loaded.title) == (0, "", "L")


@pytest.mark.parametrize(
    ("finish", "told"),
    [
        (Finish("editor", errors={"editor": 20.0}), "tokens; the editor's result is scaled up"),
        (Finish("detail"), "tokens, with detail from the photo"),
        (Finish("detail", residual=0.03125), "tokens, with detail from the photo"),
        (
            Finish("detail", residual=0.0, correction=np.full((7, 3), 0.5, np.float32)),
            "tokens, with detail from the photo and corrected colours",
        ),
    ],
)
def test_a_finish_that_needs_the_tokens(finish, told):
    loaded = from_bytes(to_bytes(dataclasses.replace(FULL, finish=finish)))
    assert loaded.finish.fields() == finish.fields()
    assert (loaded.finish.correction is None) == (finish.correction is None)
    assert (loaded.needs_editor, loaded.consists_of) == (True, told)
    assert describe_edit(loaded)["consists_of"] == told
    with pytest.raises(EditFileError, match=r"there are none|expected tensors 'tokens'"):
        to_bytes(vii.Edit(finish=finish))


def test_golden_bytes_of_a_finish():
    data = struct.pack("<12f", *[0.5] * 12)
    edit = vii.Edit(finish=Finish("color", ColorTransform(Terms(1), np.full((4, 3), 0.5, np.float32))), title="t")
    field = (
        r"{\"errors\": {}, \"kind\": \"color\", \"terms\": {\"axes\": [], \"degree\": 1, \"knots\": 0, "
        r"\"place\": \"\", \"place_knots\": 0}}"
    ).replace(chr(92) * 2, chr(92))
    header = (
        '{"__metadata__":{"modelspec.architecture":"vii/visual-instruction",'
        f'"modelspec.hash_sha256":"0x{hashlib.sha256(data).hexdigest()}",'
        '"modelspec.implementation":"vii","modelspec.sai_model_spec":"1.0.1","modelspec.title":"t",'
        f'"vii.finish":"{field}","vii.format_version":"2","vii.pairs":"[]","vii.tags":"[]","vii.training":"{{}}"}},'
        '"finish.color":{"data_offsets":[0,48],"dtype":"F32","shape":[4,3]}}'
    ).encode()
    header += b" " * (-len(header) % 8)
    assert to_bytes(edit) == struct.pack("<Q", len(header)) + header + data


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"finish.a": torch.tensor([float("nan")])}, "not finite"),
        ({"finish.a": torch.zeros(1, 1, 1, 1, 1)}, "at most 4 axes"),
        ({"finish.a": torch.zeros(2, dtype=torch.float16)}, "must be float32"),
        ({"finish.A": torch.zeros(1)}, "expected tensors"),
        ({f"finish.a{i}": torch.zeros(1) for i in range(20)}, "at most 16"),
        ({"pooled": torch.zeros(3)}, "expected tensors"),
        ({"pooled": torch.zeros(3), "finish.a": torch.zeros(1)}, "belongs to tokens"),
        ({"tokens": torch.zeros(1, 3), "pooled": torch.full((3,), 1e6)}, "longer than"),
        ({"tokens": torch.zeros(1, 3), "finish.color": torch.zeros(4, 3)}, "expected the fields of a finish"),
    ],
)
def test_a_finish_that_is_not_as_specified_is_refused(tensors, message):
    with pytest.raises(EditFileError, match=message):
        from_bytes(rebuilt({"modelspec.hash_sha256": None}, tensors))


def test_every_flipped_byte_of_the_tensors_is_noticed():
    data = to_bytes(FULL)
    for position in range(8 + int.from_bytes(data[:8], "little"), len(data)):
        changed = bytearray(data)
        changed[position] ^= 1
        with pytest.raises(EditFileError, match=r"damaged|finite|longer"):
            from_bytes(bytes(changed))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"title": "x" * 70_000}, "at most 64,000"),
        ({"title": "\udce9t\udce9"}, "no text"),
        ({"description": "a\x00b"}, "control characters"),
        ({"author": "a\x1b[31m"}, "control characters"),
        ({"license": "a\u202eb"}, "direction"),
        ({"title": 3}, "must be text"),
        ({"tags": "one"}, "must be a list"),
        ({"tags": ["a", " "]}, "must not be empty"),
        ({"tags": ["a"] * 101}, "at most 100"),
        ({"thumbnail": "data:text/html;base64,AAAA"}, "data: URL"),
    ],
)
def test_labels_that_could_not_be_read_again_are_refused_beforehand(labels, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        FULL.labelled(**labels)
    if "tags" not in labels or labels["tags"] != "one":
        with pytest.raises(EditFileError, match="cannot be saved"):
            vii.save_edit(dataclasses.replace(FULL, **labels), tmp_path / "x.safetensors")
    assert not list(tmp_path.iterdir())


def test_labels_survive_as_they_are():
    kept = {"title": "夏 🧑\u200d🎨", "description": "two\nlines\tand a tab", "tags": ("a, b", "c"), "author": "é"}
    loaded = from_bytes(to_bytes(FULL.labelled(**kept)))
    assert {name: getattr(loaded, name) for name in kept} == kept
    assert torch.equal(loaded.tokens, FULL.tokens)


def test_a_thousand_pairs_and_a_loss_that_overflowed_lose_nothing():
    pairs = tuple(hashlib.sha256(bytes([i % 256, i // 256])).hexdigest() for i in range(1500))
    training = {"loss": float("nan"), "losses": [1.0, float("inf")], "explained": 0.5}
    loaded = from_bytes(to_bytes(dataclasses.replace(FULL, pairs=pairs, training=training)))
    assert loaded.pairs == pairs
    assert loaded.training == {"loss": None, "losses": [1.0, None], "explained": 0.5}
    with pytest.raises(UsageError, match="at most 10,000 pairs"):
        check_labels(pairs=["00" * 32] * 10_001)


def test_names_in_capitals_are_edit_files_too(tmp_path):
    vii.save_edit(FULL, tmp_path / "A.SAFETENSORS")
    assert vii.load_edit(tmp_path / "A.SAFETENSORS").title == "Blue"
    assert list(edit_files(tmp_path)) == ["A"]


def test_names_that_no_system_has_are_one_line():
    for name in ("x" * 300 + ".safetensors", "a\0b.safetensors", "/root/" * 2000):
        with pytest.raises(EditFileError, match="no such edit file"):
            vii.load_edit(name)


def test_other_tools_read_the_file(tmp_path):
    path = tmp_path / "blue.safetensors"
    vii.save_edit(FULL, path)
    with safetensors.safe_open(path, "pt") as file:
        assert file.metadata()["modelspec.title"] == "Blue"
        assert file.metadata()["modelspec.sai_model_spec"] == "1.0.1"
        assert torch.equal(file.get_tensor("tokens"), FULL.tokens)


def test_files_of_the_safetensors_library_are_read_too():
    assert torch.equal(from_bytes(rebuilt()).tokens, FULL.tokens)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"vii.format_version": None}, "not an edit file"),
        ({"vii.format_version": "3"}, "newer than this vii reads"),
        ({"vii.format_version": "0"}, "not a number from 1 on"),
        ({"vii.format_version": "one"}, "not a number from 1 on"),
        ({"vii.space": None}, "no vii.space"),
        ({"vii.editor": None}, "no vii.editor"),
        ({"vii.base_model_fingerprint": None}, "no vii.base_model_fingerprint"),
        ({"vii.start": "-1"}, "whole number"),
        ({"vii.length": "99999999999"}, "whole number"),
        ({"vii.start": "76"}, "do not fit into 77 rows"),
        ({"vii.settings": "{"}, "not valid JSON"),
        ({"vii.settings": '{"a": NaN}'}, "not valid JSON"),
        ({"vii.settings": "[" * 50_000}, "not valid JSON"),
        ({"vii.settings": "[]"}, "must be a JSON dict"),
        ({"vii.settings": '{"steps": ' + "1" * 5000 + "}"}, "5,000 digits"),
        ({"vii.settings": '{"guidance_scale": 1e400}'}, "not finite"),
        ({"vii.training": '{"explained": ' + "9" * 400 + "}"}, "400 digits"),
        ({"vii.training": '{"recipe": "\\ud800"}'}, "not valid JSON"),
        ({"vii.start": "\u0661"}, "whole number"),
        ({"vii.tags": "[1]"}, "list of texts"),
        ({"vii.editor": "a\x1b[2J"}, "control characters"),
        ({"modelspec.title": "a\x1b]0;owned\x07"}, "control characters"),
        ({"modelspec.title": "gpj\u202egnp"}, "turn the direction"),
        ({"modelspec.thumbnail": "http://elsewhere/x.png"}, "data: URL"),
        ({"modelspec.hash_sha256": "0x" + "0" * 64}, "damaged"),
        ({"vii.pairs": "{}"}, "must be a JSON list"),
        ({"modelspec.resolution": "wide"}, "must be like 512x512"),
        ({"modelspec.description": "x" * 70_000}, "at most 64,000"),
    ],
)
def test_headers_that_are_not_as_specified_are_refused(metadata, message):
    with pytest.raises(EditFileError, match=message):
        from_bytes(rebuilt(metadata))


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"tokens": torch.tensor([[float("nan"), 1.0]])}, "not finite"),
        ({"tokens": torch.tensor([[float("inf"), 1.0]])}, "not finite"),
        ({"tokens": torch.full((1, 4), 1e6)}, "longer than"),
        ({"tokens": torch.zeros(2, 3, dtype=torch.float16)}, "must be float32"),
        ({"tokens": torch.zeros(6)}, "must be float32"),
        ({"tokens": torch.zeros(0, 3)}, "must be float32"),
        ({"tokens": torch.zeros(3, 0)}, "must be float32"),
        ({"tokens": torch.zeros(2000, 3)}, "must be float32"),
        ({"tokens": torch.zeros(1, 3), "more": torch.zeros(1)}, "expected tensors 'tokens'"),
        ({"emb_params": torch.zeros(1, 3)}, "expected tensors 'tokens'"),
    ],
)
def test_tensors_that_are_not_as_specified_are_refused(tensors, message):
    with pytest.raises(EditFileError, match=message):
        from_bytes(rebuilt(tensors=tensors))


def test_pickles_are_refused_unopened(tmp_path):
    touched = tmp_path / "touched"

    class Payload:
        def __reduce__(self):
            return (open, (str(touched), "w"))

    for name, write in (
        ("a.safetensors", lambda path: path.write_bytes(pickle.dumps(Payload()))),
        ("b.safetensors", lambda path: torch.save(torch.zeros(3), path)),
    ):
        write(tmp_path / name)
        with pytest.raises(EditFileError, match="pickle"):
            vii.load_edit(tmp_path / name)
    assert not touched.exists()


def test_every_truncation_is_refused():
    data = to_bytes(FULL)
    for length in range(len(data)):
        with pytest.raises(EditFileError):
            from_bytes(data[:length])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(position=st.integers(0, len(to_bytes(FULL)) - 1), value=st.integers(0, 255))
def test_damaged_files_give_an_edit_or_our_own_error(position, value):
    data = bytearray(to_bytes(FULL))
    data[position] = value
    with contextlib.suppress(EditFileError):
        assert torch.isfinite(from_bytes(bytes(data)).tokens).all()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_noise_is_refused(data):
    with pytest.raises(EditFileError):
        from_bytes(data)


def test_large_and_missing_files_are_refused_before_reading(tmp_path):
    large = tmp_path / "large.safetensors"
    with large.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(EditFileError, match="too large"):
        vii.load_edit(large)
    with pytest.raises(EditFileError, match="no such edit file"):
        vii.load_edit(tmp_path / "none.safetensors")
    with pytest.raises(EditFileError, match="no such edit file"):
        vii.load_edit(tmp_path)


def test_saving_is_whole_or_not_at_all(tmp_path):
    path = tmp_path / "blue.safetensors"
    vii.save_edit(FULL, path)
    before = path.read_bytes()
    broken = dataclasses.replace(FULL, settings={"guidance_scale": float("nan")})
    with pytest.raises(EditFileError, match="JSON"):
        vii.save_edit(broken, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(OutputError, match="cannot be written"):
        vii.save_edit(FULL, tmp_path / "none" / "blue.safetensors")
    with pytest.raises(OutputError, match=r"\*\.safetensors"):
        vii.save_edit(FULL, tmp_path / "blue.pt")


def test_nothing_private_is_stored(toy, toy_pair):
    edit = vii.invert(
        toy, [toy_pair], vii.InversionSettings(init="none", tokens=4, max_train_steps=1, probe_size=2, finish="none")
    )
    assert edit.thumbnail == ""
    assert edit.pairs == (toy_pair.sha256(),)
    assert len(to_bytes(edit)) < 3000


def test_description_can_be_written_as_json():
    description = json.loads(json.dumps(describe_edit(FULL)))
    assert description["title"] == "Blue"
    assert description["tokens"] == 2
    assert description["init_text"] == FULL.init_text


def test_no_length_of_the_header_is_taken_for_a_pickle(toy_edit):
    lengths = set()
    for extra in range(0, 1000, 8):
        edit = dataclasses.replace(toy_edit, description="x" * extra)
        data = to_bytes(edit)
        lengths.add(int.from_bytes(data[:8], "little"))
        assert from_bytes(data).description == edit.description
    assert {896, 1152, 1408} & lengths


@pytest.mark.parametrize(
    "field",
    [
        '{"kind": "paint"}',
        '{"kind": "color"}',
        '{"kind": "detail", "residual": 7}',
        '{"kind": "detail", "residual": "1"}',
        '{"kind": ["detail"]}',
        '{"kind": "editor", "errors": {"editor": "much"}}',
        '{"kind": "editor", "more": 1}',
        '{"kind": "color", "terms": {"degree": 1000000}}',
        '{"errors": []}',
    ],
)
def test_the_field_of_a_finish_is_checked(field):
    with pytest.raises(EditFileError, match="finish is not as specified"):
        from_bytes(rebuilt({"vii.finish": field}))
