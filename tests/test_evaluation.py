"""`vii eval`: which folders it reads, every measure against its formula, what it keeps, and the command."""

import csv
import dataclasses
import json
import shutil
import sys
from types import SimpleNamespace

import pytest
import torch
from conftest import picture
from test_benchmark import FAST, Counting
from test_cli import refused, run
from torch.nn.functional import normalize

import vii
from vii.editors.loading import EMBEDDED_MODEL
from vii.editors.toy import ToyEditor
from vii.errors import EditorError, EditorMismatch, ImageError, RecipeError, UsageError
from vii.evaluation.methods import Method, methods_for
from vii.evaluation.metric_models import MetricModels, load_metric_models
from vii.evaluation.metric_table import PAPER
from vii.evaluation.metrics import psnr, similarity, ssim
from vii.evaluation.paper import evaluate
from vii.evaluation.report import paper_record
from vii.evaluation.task_files import read_folders
from vii.images import fit, resize


def pictures(folder, *names, height=32, width=32):
    """Write pictures of these names; that of an edited frame is a darker one of the same frame."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        frame, _, half = path.stem.rpartition("_")
        seed = sum(map(ord, frame or path.stem))
        vii.save_image(picture(seed, height, width) * (0.5 if half in ("1", "after") else 1), path)
    return folder


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    """A tiny CLIP with random weights, in transformers' form."""
    from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

    torch.manual_seed(0)
    tokenizer = CLIPTokenizer.from_pretrained(EMBEDDED_MODEL / "tokenizer", model_max_length=32)
    size = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    ids = {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id, "max_position_embeddings": 32}
    vision = {**size, "image_size": 32, "patch_size": 8}
    folder = tmp_path_factory.mktemp("models") / "clip"
    CLIPModel(CLIPConfig(text_config={**size, **ids}, vision_config=vision, projection_dim=16)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def dino_folder(tmp_path_factory):
    """A tiny vision transformer with random weights."""
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8
    )
    folder = tmp_path_factory.mktemp("models") / "dino"
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def lpips(tmp_path, monkeypatch):
    """A stand-in for the package, and AlexNet's weights in their place: the distance is the mean difference."""

    class Lpips(torch.nn.Module):
        def __init__(self, net, verbose):
            super().__init__()
            assert net == "alex"

        def forward(self, first, second):
            assert first.shape[:2] == (1, 3)
            return (first - second).abs().mean()

    monkeypatch.setitem(sys.modules, "lpips", SimpleNamespace(LPIPS=Lpips))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    weights = tmp_path / "hub/checkpoints/alexnet-owt-7be5be79.pth"
    weights.parent.mkdir(parents=True)
    return weights


# Folders


def test_the_authors_layout(tmp_path):
    folder = pictures(tmp_path / "cat", "0_0.png", "0_1.png", "10_0.png", "2_0.png", "2_1.png", "9_0.png")
    (folder / "._0_0.png").write_bytes(b"")
    (folder / "notes.txt").write_text("x")
    (task,) = read_folders(folder)
    assert task.name == "cat"
    assert task.source.examples == ((folder / "0_0.png", folder / "0_1.png"),)
    assert [query.name for query in task.source.queries] == ["2_0", "9_0", "10_0"]
    assert [query.truth for query in task.source.queries] == [folder / "2_1.png", None, None]
    (more,) = read_folders(folder, examples=2)
    assert more.source.examples[1] == (folder / "2_0.png", folder / "2_1.png")
    assert [photo.name for photo in more.source.queries] == ["9_0", "10_0"]


@pytest.mark.parametrize(
    ("names", "photo"),
    [
        (["a_before.png", "a_after.png", "b_before.png", "b_after.png"], "b_before"),
        (["a_start.png", "a_end.png", "b_start.png", "b_end.png"], "b_start"),
        (["before/a.png", "before/b.png", "after/a.png", "after/b.png"], "before/b"),
    ],
)
def test_other_layouts_take_the_first_pair_as_the_example(tmp_path, names, photo):
    (task,) = read_folders(pictures(tmp_path, *names))
    assert len(task.source.examples) == 1
    assert [(found.name, bool(found.truth)) for found in task.source.queries] == [(photo, True)]


def test_a_folder_of_folders_is_a_task_each(tmp_path):
    for name in ("dog", "cat"):
        pictures(tmp_path / name, "0_0.png", "0_1.png", "1_0.png")
    assert [task.name for task in read_folders(tmp_path)] == ["cat", "dog"]
    pictures(tmp_path / "bad", "0_0.png", "photo.png")
    with pytest.raises(ImageError, match=r"bad: no before/after pairs .*found 0_0.png, photo.png"):
        read_folders(tmp_path)


@pytest.mark.parametrize(
    ("names", "options", "error", "message"),
    [
        ([], {}, ImageError, "expected an example pair 0_0 and 0_1.*found no pictures"),
        (["0_0.png", "1_0.png"], {}, ImageError, "no before/after pairs"),
        (["0_0.png", "0_1.png"], {}, UsageError, "nothing to test on.*1 pairs, of which 1"),
        (["0_0.png", "0_1.png", "1_0.png"], {"examples": 2}, UsageError, "expected 2 example pairs, found 1"),
        (["0_0.png", "0_1.png", "eval_100.png"], {}, ImageError, "without a partner.*eval_100.png"),
        (["0_0.png", "0_1.png", "1_1.png"], {}, ImageError, "without a partner.*1_1.png"),
    ],
)
def test_folders_that_are_refused(tmp_path, names, options, error, message):
    with pytest.raises(error, match=message):
        read_folders(pictures(tmp_path, *names), **options)


def test_folders_that_are_not_there(tmp_path):
    with pytest.raises(ImageError, match="found nothing"):
        read_folders(tmp_path / "none")
    with pytest.raises(ImageError, match="found a file"):
        read_folders(pictures(tmp_path, "0_0.png") / "0_0.png")


# Measures


def cosine(first, second):
    """Written out: the sum of products over the product of lengths."""
    first, second = first.double(), second.double()
    return float((first * second).sum() / (first.square().sum() * second.square().sum()).sqrt())


def test_every_measure_is_its_formula(tmp_path, clip_folder, dino_folder, lpips):
    """One run of the toy editor with everything on; each figure again from the files it is made of."""
    lpips.write_bytes(b"")
    editor = ToyEditor()
    folder = pictures(tmp_path / "cat", "0_0.png", "0_1.png", "1_0.png", "1_1.png", height=40, width=60)
    models = load_metric_models(editor, clip_folder, dino_folder)
    assert models.missing == ()
    assert models.names == {"clip": clip_folder, "lpips": "AlexNet, lpips 0.1", "dino": dino_folder}
    words = ("a photo", "a photo at night")
    methods = [Method("no edit", "no-edit"), Method("fast", options={"recipe": FAST})]
    nothing, row = evaluate(editor, read_folders(folder), methods, models, tmp_path / "out", cycle=True, words=words)
    assert set(row.values) == {metric.name for metric in PAPER} | {"explained"}
    assert None not in row.values.values()

    before, after, photo, truth = (vii.load_image(folder / f"{name}.png") for name in ("0_0", "0_1", "1_0", "1_1"))
    result = vii.load_image(tmp_path / "out" / row.picture)
    edit = vii.invert(editor, [vii.Pair(before, after)], FAST)
    assert (result - vii.apply(editor, edit, photo)).abs().max() < 1 / 255

    def features(*images):
        return models.clip.image_features([fit(image, 32, 1) for image in images])

    a, b, x, y = features(before, after, photo, result)
    na, nb, nx, ny = normalize(torch.stack([a, b, x, y]).double(), dim=1)
    s, t = normalize(models.clip.text_features(words).double(), dim=1)
    back = vii.invert(editor, [vii.Pair(after, before)], FAST)
    again = vii.invert(editor, [vii.Pair(photo, result)], FAST)
    returned, repeated = (
        (vii.apply(editor, learned, image) * 255).round() / 255 for learned, image in ((back, result), (again, before))
    )
    goal = resize(after, 40, 60)
    expected = {
        "visual_clip": cosine(nb - na, ny - nx),
        "visual_clip_raw": cosine(b - a, y - x),
        "image_clip": cosine(x, y),
        "text_clip": cosine(t - s, ny - nx),
        "psnr": psnr(result, truth),
        "ssim": ssim(result, truth),
        "lpips": float(2 * (result - truth).abs().mean()),  # of pictures in [-1, 1]
        "dino": cosine(*models.dino([result, truth])),
        "cycle_image_psnr": psnr(returned, photo),
        "cycle_image_clip": cosine(*features(returned, photo)),
        "cycle_image_lpips": float(2 * (returned - photo).abs().mean()),
        "cycle_prompt_psnr": psnr(repeated, goal),
        "cycle_prompt_clip": cosine(*features(repeated, goal)),
        "cycle_prompt_lpips": float(2 * (repeated - goal).abs().mean()),
    }
    assert row.values == pytest.approx(expected | {"explained": edit.training["explained"]}, abs=1e-4)
    assert nothing.picture == ""
    assert nothing.values["image_clip"] == pytest.approx(1)
    assert nothing.values["visual_clip"] == 0
    assert nothing.values["cycle_image_psnr"] is None


def test_dino_features_are_the_class_tokens_of_transformers_own_model(dino_folder, toy):
    from transformers import ViTModel

    models = load_metric_models(toy, dino=dino_folder)
    image = picture(3, 32, 32)
    mean, std = (torch.tensor(one).view(3, 1, 1) for one in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    pixels = (image - mean) / std
    with torch.no_grad():
        expected = ViTModel.from_pretrained(dino_folder)(pixel_values=pixels[None]).last_hidden_state[:, 0]
    torch.testing.assert_close(models.dino([image]), expected)


def test_features_leave_the_device_before_they_become_float64():
    """Not every device has float64; the meta device has no values at all, so that only the order is seen."""
    calls = []

    class Recorded(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, kinds, arguments=(), options=None):
            if function in (torch.Tensor.cpu, torch.Tensor.double):
                calls.append(function.__name__)
            return super().__torch_function__(function, kinds, arguments, options or {})

    first, second = (torch.rand(4).as_subclass(Recorded) for _ in range(2))
    assert similarity(first, second) == pytest.approx(
        cosine(*(one.as_subclass(torch.Tensor) for one in (first, second)))
    )
    assert calls[:4] == ["cpu", "double"] * 2


def test_several_examples_give_the_mean_direction(tmp_path, clip_folder, toy):
    folder = pictures(tmp_path, "0_0.png", "0_1.png", "1_0.png", "1_1.png", "2_0.png")
    (tmp_path / "1_1.png").unlink()
    vii.save_image(1 - picture(1, 32, 32), tmp_path / "1_1.png")
    models = load_metric_models(toy, clip_folder, truths=False)
    methods = [Method("fast", options={"recipe": FAST})]
    (row,) = evaluate(toy, read_folders(folder, 2), methods, models, tmp_path / "out")
    files = [folder / f"{name}.png" for name in ("0_0", "0_1", "1_0", "1_1", "2_0")]
    images = list(map(vii.load_image, [*files, tmp_path / "out" / row.picture]))
    a, b, c, d, x, y = normalize(models.clip.image_features(images).double(), dim=1)
    assert row.values["visual_clip"] == pytest.approx(cosine((b - a + d - c) / 2, y - x), abs=1e-5)


def test_what_cannot_be_measured_is_said_in_a_sentence_each(toy, lpips, monkeypatch):
    models = load_metric_models(toy)
    assert [sentence.partition(":")[0] for sentence in models.missing] == ["no CLIP measures", "no LPIPS", "no DINO"]
    assert "`measure_clip`" in models.missing[0]
    assert str(lpips.parent) in models.missing[1]  # the package is there, the weights are not
    assert "hf download facebook/dino-vits16" in models.missing[2]
    assert models.clip is models.lpips is models.dino is None
    monkeypatch.setitem(sys.modules, "lpips", None)
    assert "pip install lpips" in load_metric_models(toy).missing[1]
    assert len(load_metric_models(toy, truths=False).missing) == 1
    assert len(load_metric_models(toy, truths=False, cycle=True).missing) == 2
    with pytest.raises(EditorError, match="leave `dino` away"):
        load_metric_models(toy, dino="none/such")


# Runs


def test_a_second_run_makes_nothing_again_and_another_condition_does(tmp_path, clip_folder):
    folder = pictures(tmp_path / "cat", "0_0.png", "0_1.png", "1_0.png", "2_0.png")
    editor, models = Counting(), load_metric_models(ToyEditor(), clip_folder, truths=False)
    tokens = dataclasses.replace(FAST, finish="none")  # nothing is applied but to the photos
    methods = [Method("no edit", "no-edit"), Method("fast", options={"recipe": tokens})]

    def run(**options):
        editor.losses = editor.edits = 0
        rows = list(evaluate(editor, read_folders(folder), methods, models, tmp_path / "out", **options))
        return rows, (editor.losses, editor.edits)

    first, work = run()
    assert work[0] > 0
    assert work[1] == 2
    assert run() == (first, (0, 0))
    (tmp_path / "out" / first[-1].picture).unlink()
    assert run() == (first, (0, 1))
    for options in ({"seed": 1}, {"conditions": {"dtype": "bfloat16"}}):
        assert run(**options)[1] == work
    (folder / "0_1.png").unlink()
    vii.save_image(picture(5, 32, 32), folder / "0_1.png")
    assert run()[1] == work
    assert run(cycle=True)[1][1] == 2 * 2


def test_methods_are_no_edit_an_edit_file_and_recipes(toy_edit, tmp_path):
    both = methods_for(["visii"], baselines=["no-edit"], edit=("bands", toy_edit))
    assert [method.name for method in both] == ["no edit", "bands", "visii"]
    assert [(bool(method.recipe), bool(method.edit)) for method in both[1:]] == [(False, True), (True, False)]
    (tmp_path / "bands.toml").write_text("")
    with pytest.raises(UsageError, match="'bands' is compared already"):
        methods_for([str(tmp_path / "bands.toml")], edit=("bands", toy_edit))
    (tmp_path / "words.toml").write_text('[inversion]\ninit = "{words}"')
    with pytest.raises(RecipeError, match="only 'vii bench' has"):
        methods_for([str(tmp_path / "words.toml")])


def test_what_makes_no_sense_is_refused_before_anything_is_learned(tmp_path, toy, tiny, toy_edit, clip_folder):
    folder = pictures(tmp_path / "cat", "0_0.png", "0_1.png", "1_0.png")
    tasks, methods = read_folders(folder), [Method("fast", options={"recipe": FAST})]
    clip = load_metric_models(toy, clip_folder, truths=False)
    out = tmp_path / "out"
    with pytest.raises(UsageError, match="nothing to measure"):
        evaluate(toy, tasks, methods, MetricModels(), out)
    with pytest.raises(UsageError, match="`words` needs a CLIP"):
        evaluate(toy, tasks, methods, MetricModels(), out, words=("a", "b"), cycle=True)
    with pytest.raises(UsageError, match="by a recipe or a method that is shown pairs; add one"):
        evaluate(toy, tasks, [Method("bands", edit=toy_edit)], clip, out, cycle=True)
    with pytest.raises(EditorMismatch):
        evaluate(tiny, tasks, [Method("bands", edit=toy_edit)], clip, out)
    pictures(folder, "1_1.png", height=64)
    with pytest.raises(ImageError, match="must show the same frame"):
        evaluate(toy, read_folders(folder), methods, clip, out)
    assert not out.exists()


def test_every_task_counts_the_same(tmp_path, clip_folder, toy):
    pictures(tmp_path / "a", "0_0.png", "0_1.png", "1_0.png", "2_0.png")
    pictures(tmp_path / "b", "0_0.png", "0_1.png", "3_0.png")
    models = load_metric_models(toy, clip_folder, truths=False)
    rows = list(
        evaluate(toy, read_folders(tmp_path), [Method("fast", options={"recipe": FAST})], models, tmp_path / "out")
    )
    one, two, three = (row.values["image_clip"] for row in rows)
    found = paper_record(rows, models, {})
    assert found["means"]["fast"]["image_clip"] == pytest.approx(((one + two) / 2 + three) / 2, abs=1e-5)
    assert found["metrics"]["image_clip"]["measured_with"] == clip_folder
    assert set(found["means"]["fast"]) == {"visual_clip", "visual_clip_raw", "image_clip"}


# The command


def test_the_command_writes_csv_json_a_sheet_and_a_table(tmp_path, clip_folder, toy_edit):
    folder = pictures(tmp_path / "cat", "0_0.png", "0_1.png", "1_0.png", "1_1.png", "2_0.png")
    (tmp_path / "fast.toml").write_text('[inversion]\ninit = "none"\ntokens = 3\nsteps = 4\nprobe_size = 2\n')
    vii.save_edit(toy_edit, tmp_path / "bands.safetensors")
    out = tmp_path / "out"
    options = [folder, "-o", out, "--editor", "toy", "--measure-clip", clip_folder, "--recipe", tmp_path / "fast.toml"]
    options += ["--edit", tmp_path / "bands.safetensors", "--text", "a photo", "a dark photo"]
    text, missing = run("eval", *options)
    assert "Means over 2 photos" in text
    assert f"clip measured with {clip_folder}" in text
    assert "no DINO" in missing
    found = json.loads((out / "results.json").read_text())
    assert json.loads(run("eval", *options, "--json")[0]) == found
    assert [(row["method"], row["photo"]) for row in found["rows"]] == [
        (method, photo) for method in ("no edit", "bands", "fast") for photo in ("1_0", "2_0")
    ]
    lines = list(csv.DictReader((out / "results.csv").open()))
    assert len(lines) == 6
    assert {line["clip_model"] for line in lines} == {clip_folder}
    assert float(lines[2]["text_clip"]) == found["rows"][2]["text_clip"]
    assert [bool(line["psnr"]) for line in lines] == [True, False] * 3
    assert all((out / row["result"]).exists() for row in found["rows"][2:])
    assert vii.load_image(out / "contact-sheet.png").shape[0] == 3
    assert not list(out.rglob("*.part"))
    # Somebody's own table is found before the work begins, and stays.
    (out / "results.csv").write_text("my,own\n")
    assert "results.csv is there already, and not made by vii" in refused("eval", *options)
    assert (out / "results.csv").read_text() == "my,own\n"
    run("eval", *options, "--overwrite")


def test_the_command_with_a_tiny_instruct_pix2pix_and_a_cycle(tmp_path, tiny_folder, clip_folder):
    """The editor's own CLIP measures; half a dozen edits are learned in two steps each."""
    for name in ("cat", "dog"):
        pictures(tmp_path / "set" / name, "0_0.png", "0_1.png", "1_0.png")
    quick = '[inversion]\ninit = "none"\ntokens = 3\nsteps = 2\nprobe_size = 2\nbatch_size = 1\n'
    (tmp_path / "fast.toml").write_text(quick)
    model = shutil.copytree(tiny_folder, tmp_path / "model")
    (model / "vii.json").write_text('{"resolution": 32}')
    out = tmp_path / "out"
    text, _ = run(
        *("eval", tmp_path / "set", "-o", out, "--editor", "ip2p", "--model", model, "--clip", clip_folder),
        *("--recipe", tmp_path / "fast.toml", "--cycle", "--device", "cpu"),
    )
    assert "Means over 2 tasks with 2 photos" in text
    assert "| cycle, prompt, CLIP" in text
    assert sorted(path.name for path in out.glob("contact*")) == ["contact-sheet-cat.png", "contact-sheet-dog.png"]
    assert len(list((out / "edits").iterdir())) == 2 * 3


def test_methods_that_learn_nothing_are_measured_by_their_cycles_too(tmp_path, clip_folder, toy):
    """ImageBrush's image fidelity and prompt fidelity (section 4.3), of the method's own answers."""
    folder = pictures(tmp_path / "cat", "0_0.png", "0_1.png", "1_0.png")
    methods = methods_for(baselines=["no-edit"], methods=["pixel-delta"])
    models = load_metric_models(toy, clip_folder, truths=False, cycle=True)
    nothing, row = evaluate(toy, read_folders(folder), methods, models, tmp_path / "out", cycle=True)
    before, after, photo = (vii.load_image(folder / f"{name}.png") for name in ("0_0", "0_1", "1_0"))
    result = vii.load_image(tmp_path / "out" / row.picture)
    returned, repeated = (
        ((one + change).clamp(0, 1) * 255).round() / 255
        for one, change in ((result, before - after), (before, result - photo))
    )
    assert row.values["cycle_image_psnr"] == pytest.approx(psnr(returned, photo), abs=1e-3)
    assert row.values["cycle_prompt_psnr"] == pytest.approx(psnr(repeated, after), abs=1e-3)
    assert nothing.values["cycle_image_psnr"] is None
    with pytest.raises(UsageError, match="true words: it needs words that say the edit"):
        evaluate(toy, read_folders(folder), methods_for(baselines=["words"]), models, tmp_path / "other")
    text, _ = run("eval", folder, "-o", tmp_path / "cli", "--editor", "toy", "--method", "pixel-delta", "--cycle")
    assert "| no edit | pixel-delta |" in text
    assert "cycle, image, PSNR dB" in text


def test_the_command_refuses_in_one_line(tmp_path, clip_folder):
    folder = pictures(tmp_path / "cat", "0_0.png", "0_1.png", "1_0.png")
    for arguments, message in (
        ([tmp_path / "none", "--editor", "toy"], "expected a folder, found nothing"),
        ([folder, "--editor", "toy"], "nothing to measure"),
        ([folder, "--recipe", "defualt"], "did you mean 'default'"),
        ([folder, "--edit", tmp_path / "x.safetensors"], "no such edit file"),
        ([folder, "--method", "imagebrush"], "it needs weights; say imagebrush=MODEL"),
        ([folder, "--editor", "toy", "--measure-clip", tmp_path / "x"], "with --measure-clip"),
    ):
        assert message in refused("eval", *arguments, "-o", tmp_path / "out")
