"""The command line as a user meets it: what it writes, what it prints, and how it refuses."""

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys

import pytest
import torch
from click.testing import CliRunner
from conftest import bomb_png, picture
from PIL import Image

import vii
from vii.cli import main
from vii.cli.terminal import in_options
from vii.signals import SIGNALS, Stopped, stoppable

LEARN_FAST = ["--set", "steps=2", "--set", "batch_size=2", "--set", "probe_size=2", "--init", "make it night"]


def run(*arguments, code=0):
    """Run a command in this process; returns what it printed on stdout and stderr."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


def printed(*arguments, code=0):
    """The same in one text, errors after all else."""
    return "".join(run(*arguments, code=code))


def refused(*arguments):
    """Run a command that must fail with one line and exit code 1; returns the line."""
    out, err = run(*arguments, code=1)
    lines = err.strip().splitlines()
    assert out == ""
    assert len(lines) == 1, err
    assert lines[0].startswith("vii: ")
    return lines[0]


@pytest.fixture
def pair_files(tmp_path):
    """Before and after pictures on disk."""
    vii.save_image(picture(1, 64, 64), tmp_path / "before.png")
    vii.save_image(picture(1, 64, 64) * 0.5, tmp_path / "after.png")
    return tmp_path / "before.png", tmp_path / "after.png"


@pytest.fixture
def toy_file(tmp_path, toy_edit):
    """An edit file for the toy editor, which needs no weights and no time."""
    path = tmp_path / "bands.safetensors"
    vii.save_edit(toy_edit, path)
    return path


@pytest.fixture
def folder(tmp_path):
    """A folder of three photos."""
    path = tmp_path / "photos"
    path.mkdir()
    for index, size in enumerate([(40, 60), (64, 64), (90, 50)]):
        vii.save_image(picture(index, *size), path / f"photo{index}.png")
    return path


def test_learn_then_apply_then_show_with_the_embedded_editor(tmp_path, pair_files, folder):
    edit, out = tmp_path / "dark.safetensors", tmp_path / "out"
    stdout, _ = run("learn", *pair_files, "-o", edit, *LEARN_FAST, "--title", "Dark", "--tag", "light", "--json")
    report = json.loads(stdout)
    assert {"path", "seconds", "startup_seconds", "steps", "samples", "explained", "explained_start"} <= set(report)
    assert report["path"] == str(edit)
    assert report["steps"] == 2
    assert report["bytes"] == edit.stat().st_size < 30_000

    stdout, _ = run("apply", edit, folder, "-o", out, "--steps", "2", "--json")
    applied = json.loads(stdout.splitlines()[-1])
    assert applied["paths"] == [str(out / f"photo{index}.png") for index in range(3)]
    assert applied["seconds"] > 0
    assert sorted(path.name for path in out.iterdir()) == ["photo0.png", "photo1.png", "photo2.png"]

    stdout, _ = run("show", edit, "--json")
    shown = json.loads(stdout)
    assert (shown["title"], shown["tags"], shown["init_text"]) == ("Dark", ["light"], "make it night")
    assert "make it night" in run("show", edit)[0]


def test_apply_is_the_library_function(tmp_path, toy, toy_edit, toy_file, photo_file):
    out = tmp_path / "out.png"
    stdout, _ = run("apply", f"{toy_file}:0.5", toy_file, photo_file, "-o", out, "--seed", "3")
    assert stdout.strip() == str(out)
    expected = vii.apply(toy, [(toy_edit, 0.5), (toy_edit, 1.0)], vii.load_image(photo_file), seed=3)
    assert (vii.load_image(out) - expected).abs().max() <= 0.5 / 255 + 1e-6


def test_each_option_of_apply_reaches_the_editor(tmp_path, photo_file):
    always = ["--steps", "3", "--dtype", "float32"]

    def pixels(*options):
        out = tmp_path / "out.png"
        run("apply", photo_file, "--editor", "embedded", "--text", "make it sepia", *always, *options, "-o", out)
        return vii.load_image(out)

    base = pixels()
    assert torch.equal(base, pixels())
    for options in (
        ["--text", "make it night"],
        ["--steps", "4"],
        ["--guidance", "3"],
        ["--image-guidance", "2"],
        ["--scheduler", "euler_ancestral"],
        ["--seed", "1"],
        ["--box", "0,0,40,60"],
        ["--size", "editor"],
        ["--dtype", "bfloat16"],
    ):
        changed = pixels(*options)
        assert changed.shape != base.shape or not torch.equal(changed, base), options
    assert base.shape == (3, 60, 80)


def test_a_folder_is_edited_in_batches_and_says_what_it_skipped(tmp_path, toy, toy_edit, toy_file):
    photos = tmp_path / "in"
    photos.mkdir()
    for number, size in enumerate([(60, 80), (80, 60), (20, 20), (60, 80), (60, 80)]):
        vii.save_image(picture(number, *size), photos / f"{number}.png")
    (photos / "2a.png").write_bytes(b"no picture")
    (photos / "3.gif").write_bytes(b"GIF89a")
    edits = [f"{toy_file}:0.5", "--set", "guidance_scale=2", "--box", "10,10,40,40"]
    out, err = run("apply", *edits, photos, "-o", tmp_path / "out", "--batch", "2", "--json", code=1)
    report = json.loads(out.splitlines()[-1])
    assert report["paths"] == [str(tmp_path / "out" / f"{number}.png") for number in (0, 1, 3, 4)]
    assert report["failed"] == 2
    assert "does not lie inside the photo of 20 x 20" in report["skipped"][str(photos / "2.png")]
    assert {str(photos / "2a.png"), str(photos / "3.gif")} < set(report["skipped"])
    assert "2 of 6 photos could not be edited" in err
    for number in (0, 1, 3, 4):
        photo = vii.load_image(photos / f"{number}.png")
        expected = vii.apply(toy, [(toy_edit, 0.5)], photo, mask=(10, 10, 40, 40), guidance_scale=2.0)
        assert (vii.load_image(tmp_path / "out" / f"{number}.png") - expected).abs().max() <= 0.5 / 255 + 1e-6


def test_what_an_edit_file_asks_for_beyond_the_limits_is_said_and_not_done(tmp_path, toy_edit, photo_file):
    edit = tmp_path / "greedy.safetensors"
    vii.save_edit(dataclasses.replace(toy_edit, settings={"guidance_scale": 1e20}), edit)
    out, err = run("apply", edit, photo_file, "-o", tmp_path / "out.png", "--json")
    (warning,) = json.loads(out)["warnings"]
    assert "recommends guidance_scale 1e+20, which is not done" in warning
    assert warning in err
    assert json.loads(Image.open(tmp_path / "out.png").text["vii"])["settings"] == {"guidance_scale": 1.0}


@pytest.mark.parametrize("weight", ["nan", "1e400", "-inf", "1000"])
def test_weights_that_are_no_numbers_are_refused(tmp_path, toy_file, photo_file, weight):
    assert "weight" in refused("apply", f"{toy_file}:{weight}", photo_file, "-o", tmp_path / "out.png")


@pytest.mark.parametrize("seed", [2**70, -1])
def test_seeds_that_no_generator_takes_are_refused(tmp_path, toy_file, photo_file, seed):
    assert "2**63 - 1" in refused("apply", toy_file, photo_file, "-o", tmp_path / "out.png", "--seed", seed)


def test_an_edit_learned_to_reuse_its_noise_is_applied_so_unless_told_otherwise(tmp_path, photo_file, pair_files):
    edit, out = tmp_path / "e.safetensors", tmp_path / "out.png"
    run("learn", *pair_files, "-o", edit, *LEARN_FAST, "--set", "noise=reuse", "--set", "finish=none")

    def pixels(*options):
        run("apply", edit, photo_file, "--steps", "2", *options, "-o", out)
        return vii.load_image(out), json.loads(Image.open(out).text["vii"])["reuse_noise"]

    reused, told = pixels("--seed", "1")
    assert told is True
    assert torch.equal(reused, pixels("--seed", "2")[0])
    assert torch.equal(reused, pixels("--seed", "2", "--reuse-noise")[0])
    new, told = pixels("--seed", "1", "--new-noise")
    assert told is False
    assert not torch.equal(new, reused)
    assert not torch.equal(new, pixels("--seed", "2", "--new-noise")[0])


def test_mask_and_box(tmp_path, toy_file, photo_file):
    vii.save_image(torch.cat([torch.ones(3, 60, 40), torch.zeros(3, 60, 40)], 2), tmp_path / "mask.png")
    for option in (["--mask", tmp_path / "mask.png"], ["--box", "0,0,40,60"]):
        run("apply", toy_file, photo_file, *option, "-o", tmp_path / "out.png")
        result, photo = vii.load_image(tmp_path / "out.png"), vii.load_image(photo_file)
        assert torch.equal(result[:, :, 44:], photo[:, :, 44:])
        assert not torch.equal(result[:, :, :36], photo[:, :, :36])


def test_results_carry_the_settings_that_made_them(tmp_path, photo_file, toy_file, embedded):
    out = tmp_path / "out.png"
    settings = ["--text", "make it sepia", "--steps", "2", "--seed", "5"]
    run("apply", "--editor", "embedded", photo_file, *settings, "-o", out)
    text = Image.open(out).text
    scale = embedded.settings.guidance_scale
    assert text["parameters"].startswith(f"make it sepia\nSteps: 2, Sampler: ddim, CFG scale: {scale}, ")
    assert "Seed: 5" in text["parameters"]
    record = json.loads(text["vii"])
    assert (record["seed"], record["text"], record["settings"]["num_inference_steps"]) == (5, "make it sepia", 2)
    run("apply", f"{toy_file}:0.25", photo_file, "-o", out)
    assert json.loads(Image.open(out).text["vii"])["edits"][0]["weight"] == 0.25


def test_the_same_command_twice_writes_the_same_bytes(tmp_path, pair_files, photo_file):
    written = []
    for name in ("one", "two"):
        edit, out = tmp_path / name / "e.safetensors", tmp_path / name / "out.png"
        edit.parent.mkdir()
        run("learn", *pair_files, "-o", edit, *LEARN_FAST, "--seed", "4")
        run("apply", edit, photo_file, "-o", out, "--seed", "2", "--steps", "2")
        written.append((edit.read_bytes(), out.read_bytes()))
    assert written[0] == written[1]


def test_learning_takes_more_pairs_recipes_previews_and_thumbnails(tmp_path, pair_files):
    recipe = tmp_path / "quick.toml"
    recipe.write_text(
        '[inversion]\nsteps = 3\nbatch_size = 1\nprobe_size = 2\ninit = "make it dark"\n'
        '[pair]\nbefore = "before.png"\nafter = "after.png"\n'
    )
    edit = tmp_path / "e.safetensors"
    more = ["--pair", *pair_files, "--pair", *pair_files, "--tokens", "4", "--thumbnail", "--preview"]
    stdout, _ = run("learn", "-o", edit, "--recipe", recipe, *more, "--json")
    report, loaded = json.loads(stdout), vii.load_edit(edit)
    assert report["steps"] == 3
    assert len(loaded.pairs) == 3
    assert loaded.training["recipe"] == "quick"
    assert loaded.init_text == "make it dark"
    assert loaded.tokens.shape[0] == 4
    assert vii.load_image(report["preview"]).shape[1] > 100
    run("show", edit, "--thumbnail", tmp_path / "thumbnail.png")
    assert vii.load_image(tmp_path / "thumbnail.png").shape == (3, 128, 256)


@pytest.mark.parametrize(
    ("raised", "code", "how", "line"),
    [
        (KeyboardInterrupt, 130, "interrupted", "vii: stopped"),
        (MemoryError, 1, "failed", "vii: out of memory"),
    ],
)
def test_what_ends_learning_early_costs_no_update_before(tmp_path, pair_files, monkeypatch, raised, code, how, line):
    original = vii.invert_steps

    def ended(*arguments, **options):
        for step in original(*arguments, **options):
            yield step
            if step.step == 2:
                raise raised

    monkeypatch.setattr("vii.cli.learn.invert_steps", ended)
    edit = tmp_path / "e.safetensors"
    told, said = run("learn", *pair_files, "-o", edit, *LEARN_FAST, "--set", "steps=50", "--json", code=code)
    report = json.loads(told)
    assert said.startswith(line)
    assert len(said.splitlines()) == 1
    assert (report["steps"], report["stopped"]) == (2, how)
    assert vii.load_edit(edit).training["steps"] == 2


def test_one_bad_photo_does_not_cost_the_others(tmp_path, folder, toy_file):
    (folder / "bad.png").write_text("not a picture")
    out, err = run("apply", toy_file, folder, "-o", tmp_path / "out", code=1)
    assert len(out.strip().splitlines()) == 3
    assert "bad.png: not a picture" in err
    assert "1 of 4 photos could not be edited" in err


def test_bad_input_to_learn_is_refused_in_one_line_and_nothing_is_written(tmp_path, pair_files):
    before, after = pair_files
    (tmp_path / "text.png").write_text("hello")
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    (tmp_path / "huge.png").write_bytes(bomb_png(40_000))
    vii.save_image(picture(2, 64, 96), tmp_path / "wide.png")
    edit = tmp_path / "e.safetensors"
    cases = [
        ([tmp_path / "none.png", after], "none.png: (no such file|cannot be read)"),
        ([before, tmp_path / "text.png"], "text.png: not a picture"),
        ([before, tmp_path / "dot.png"], "1 x 1 is too small"),
        ([tmp_path / "huge.png", after], "40000 x 40000|enormous"),
        ([before, tmp_path / "wide.png"], "need one aspect ratio|one aspect ratio"),
        ([before], "the one after it is missing"),
        ([], "expected BEFORE and AFTER"),
        ([before, after, "--recipe", "defualt"], "did you mean 'default'"),
        ([before, after, "--editor", "embeded"], "did you mean 'embedded'"),
        ([before, after, "--set", "patienc=3"], "did you mean 'patience'"),
        ([before, after, "--set", "steps=-3"], "max_train_steps must be from 1 to 1"),
        ([before, after, "--tokens", "99"], "room for"),
        ([before, after, "--init", "night " * 60], "takes 30"),
        ([before, after, "--seed", "-1"], "seed"),
        ([before, after, "--seed", "x"], "not a valid integer.*vii learn --help|main learn --help"),
        ([before, after, "--device", "warp"], "device 'warp'"),
        ([before, after, "--clip", "/nowhere"], "--clip none"),
    ]
    for arguments, message in cases:
        line = refused("learn", *arguments, "-o", edit)
        assert re.search(message, line), line
    assert "*.safetensors" in refused("learn", before, after, "-o", tmp_path / "e.pt")
    assert "cannot be written" in refused("learn", before, after, "-o", tmp_path / "none" / "e.safetensors")
    assert not list(tmp_path.glob("*.safetensors*"))
    assert not list(tmp_path.glob(".*"))


def test_bad_input_to_apply_is_refused_in_one_line_and_nothing_is_written(tmp_path, photo_file, toy_file, toy_edit):
    other = tmp_path / "other.safetensors"
    space = dataclasses.replace(toy_edit.space, width=5)
    vii.save_edit(dataclasses.replace(toy_edit, tokens=torch.zeros(4, 5), space=space), other)
    (tmp_path / "damaged.safetensors").write_bytes(toy_file.read_bytes()[:-5])
    torch.save(torch.zeros(3), tmp_path / "authors.pt")
    (tmp_path / "empty").mkdir()
    out = tmp_path / "out.png"
    cases = [
        ([toy_file, tmp_path / "empty"], "no pictures in this folder"),
        ([toy_file, tmp_path / "none.jpg"], "[Nn]o such file"),
        ([toy_file], "at least one photo"),
        ([photo_file], "nothing to apply"),
        ([toy_file, photo_file, "--editor", "embedded"], "learned for the editor 'toy'"),
        ([other, photo_file], "width 5"),
        ([tmp_path / "damaged.safetensors", photo_file], "damaged"),
        ([tmp_path / "authors.pt", photo_file], "pickle"),
        ([tmp_path / "none.safetensors", photo_file], "no such edit file"),
        ([f"{toy_file}:strong", photo_file], "EDIT:WEIGHT"),
        ([toy_file, photo_file, "--text", "red " * 40], "too long|takes 6"),
        ([toy_file, photo_file, "--text", "a b c d", "--join-text"], "do not fit"),
        ([toy_file, photo_file, "--box", "1,2,3"], "X,Y,W,H"),
        ([toy_file, photo_file, "--box", "0,0,999,5"], "does not lie inside"),
        ([toy_file, photo_file, "--mask", tmp_path / "none.png"], "[Nn]o such file"),
        ([toy_file, photo_file, "--reuse-noise"], "noise bank"),
        ([toy_file, photo_file, "--steps", "3"], "unknown setting 'num_inference_steps'"),
        ([photo_file, "--editor", "embedded", "--text", "x", "--steps", "0"], "from 1 to 1000"),
        ([photo_file, "--editor", "embedded", "--text", "x", "--scheduler", "dim"], "did you mean 'ddim'"),
    ]
    for arguments, message in cases:
        line = refused("apply", *arguments, "-o", out)
        assert re.search(message, line), line
    assert not out.exists()


def test_outputs_that_would_be_wrong_are_refused(tmp_path, folder, toy_file):
    photo = folder / "photo0.png"
    assert "would be overwritten" in refused("apply", toy_file, folder, "-o", folder)
    assert "would be overwritten" in refused("apply", toy_file, photo, "-o", photo)
    assert "need a folder" in refused("apply", toy_file, folder, "-o", tmp_path / "one.png")
    assert "expected a name that ends in .png" in refused("apply", toy_file, photo, "-o", tmp_path / "one.gif")
    (tmp_path / "more").mkdir()
    vii.save_image(picture(1), tmp_path / "more" / "photo0.png")
    twin = tmp_path / "more" / "photo0.png"
    assert "would both be written to" in refused("apply", toy_file, folder, twin, "-o", tmp_path / "out")
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert "cannot be written" in refused("apply", toy_file, photo, "-o", blocked / "inside")


def test_bad_input_to_show(tmp_path, photo_file, toy_file):
    assert "no such edit file" in refused("show", tmp_path / "none.safetensors")
    assert "does not say how it was made" in refused("show", photo_file)
    assert "holds no picture" in refused("show", toy_file, "--thumbnail", tmp_path / "t.png")


@pytest.mark.parametrize("option", ["--mask", "--box", "--model", "--editor", "-o"])
def test_an_empty_name_is_no_option_left_out(tmp_path, photo_file, toy_file, option):
    assert "got an empty text" in refused("apply", toy_file, photo_file, "-o", tmp_path / "o.png", option, "")
    assert "got an empty text" in refused("learn", "-o", tmp_path / "e.safetensors", "--pairs", "")


def test_lists():
    editors = {"controlnet", "embedded", "ip2p", "klein", "kontext", "qwen", "sdxl", "toy"}
    assert set(json.loads(run("editors", "--json")[0])) == editors
    assert set(json.loads(run("recipes", "--json")[0])) == {"default", "visii"}
    assert "embedded" in run("editors")[0]
    assert "visii" in run("recipes")[0]


def test_unknown_commands_and_options_are_one_line_too():
    assert "No such command" in refused("lern")
    assert "No such option" in refused("show", "--jsn", "x")


def test_help_is_quick_because_nothing_heavy_is_imported():
    """Not a timed test: what costs time is what is imported."""
    code = (
        "import sys\nfrom vii.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Edit images by example" in done.stdout
    heavy = {"torch", "diffusers", "transformers", "numpy", "PIL", "rich", "open_clip", "scipy", "safetensors"}
    assert heavy.isdisjoint(done.stderr.split())


SIGNALLED = """if True:
    import itertools, os, signal, sys
    from vii.cli import main
    from vii.editors.toy import ToyEditor
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start without it
    calls, original, number = itertools.count(), ToyEditor.loss, int(sys.argv.pop(1))
    def loss(self, *arguments, **options):
        if next(calls) == 50:
            os.kill(os.getpid(), number)
        return original(self, *arguments, **options)
    ToyEditor.loss = loss
    main(sys.argv[1:])
"""


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_in_a_real_process_keeps_the_best_so_far(tmp_path, pair_files, name):
    """A real signal, sent from inside at a known moment, in the middle of an update."""
    edit, number = tmp_path / "e.safetensors", signal.Signals[name]
    options = ["--editor", "toy", "--init", "none", "--tokens", "4", "--set", "steps=1000", "--json"]
    command = [sys.executable, "-c", SIGNALLED, str(int(number)), "learn", *map(str, pair_files), "-o", str(edit)]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 128 + number, done.stderr
    report = json.loads(done.stdout)
    assert report["stopped"] == "interrupted"
    assert 30 < vii.load_edit(edit).training["steps"] == report["steps"] < 60
    assert sorted(path.name for path in tmp_path.iterdir()) == ["after.png", "before.png", "e.safetensors"]


def test_signals_are_handled_once_and_handlers_restored():
    before = {number: signal.getsignal(number) for number in SIGNALS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with stoppable():
            with stoppable():  # armed already
                pass
            with pytest.raises(Stopped) as stopped:
                os.kill(os.getpid(), signal.SIGTERM)
            assert stopped.value.code == 143
        with stoppable():
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
            assert all(signal.getsignal(number) == signal.SIG_DFL for number in SIGNALS)  # a second one ends it
            with stoppable(), pytest.raises(KeyboardInterrupt):  # armed anew
                os.kill(os.getpid(), signal.SIGINT)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
        with stoppable():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_place_that_is_gone_after_learning_costs_nothing(tmp_path, pair_files, monkeypatch):
    """The folder disappears while learning: the edit is saved elsewhere, and the error says where."""
    original, folder = vii.invert_steps, tmp_path / "out"
    folder.mkdir()

    def removing(*arguments, **options):
        yield from original(*arguments, **options)
        folder.rmdir()

    monkeypatch.setattr("vii.cli.learn.invert_steps", removing)
    line = refused("learn", *pair_files, "-o", folder / "e.safetensors", *LEARN_FAST)
    kept = re.search(r"what was learned is in (\S+)", line)[1]
    assert vii.load_edit(kept).training["steps"] == 2
    shutil.rmtree(os.path.dirname(kept))


def test_the_table_of_commands_says_what_their_help_says():
    for name, standin in main.commands.items():
        loaded = main.load(name)
        assert loaded.name == name
        assert standin.get_short_help_str(200) == loaded.get_short_help_str(200)
        assert f"  {name} " in run("--help")[0]
    assert "...\n" not in run("--help")[0].split("Commands:")[1]  # no sentence is cut off


def test_completion_lists_commands_without_loading_them_and_options(monkeypatch):
    def complete(words):
        environment = os.environ | {"_VII_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": "1"}
        environment["COMP_CWORD"] = str(len(words.split(" ")) - 1)
        code = (
            "import sys\nfrom vii.cli import main\ntry: main(prog_name='vii')\nfinally: print('torch' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        return done.stdout

    assert complete("vii le") == "plain,learn\nFalse\n"
    assert "plain,--json" in complete("vii editors --js")


def test_arguments_are_told_as_the_options_of_the_command():
    learn, apply = main.load("learn"), main.load("apply")
    message = "use `model`, `dtype='float16'`, `any_model=True`, `batch_size=1` or `reuse_noise=False`; not `x`"
    assert in_options(message, learn) == (
        "use --model, --dtype float16, --set any_model=True, --set batch_size=1 or --set reuse_noise=False; not `x`"
    )
    assert in_options(message, apply).startswith("use --model, --dtype float16, --any-model, ")
    assert in_options("`reuse_noise=False`", apply) == "--new-noise"
    assert in_options("`keep_as`", main.load("pull")) == "--as"
    assert in_options("`name`", main.load("library")) == "--name"
    assert in_options("`name`", None) == "`name`"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError(13, "Permission denied", "x\x1b[1m.png"), "vii: x [1m.png: Permission denied"),
        (MemoryError(), "vii: out of memory: what was given is too large for this machine"),
        (RecursionError("deep"), "vii: what was given is nested too deeply"),
        (ImportError("No module named 'socksio'"), "vii: No module named 'socksio'; 'vii doctor' looks for"),
        (SystemExit("usage: other"), "vii: a library underneath ended the program, saying: usage: other"),
        (TypeError("two\nlines"), "vii: a fault of this program: TypeError: two lines in "),
    ],
)
def test_whatever_is_raised_is_one_line(monkeypatch, error, line):
    def broken():
        raise error

    monkeypatch.setenv("VII_DEBUG", "0")
    monkeypatch.setattr("vii.cli.lists.recipe_names", broken)
    assert refused("recipes").startswith(line)
    monkeypatch.setenv("VII_DEBUG", "1")
    if isinstance(error, TypeError):
        assert CliRunner().invoke(main, ["recipes"]).exception is error


def test_what_somebody_wrote_does_not_reach_the_terminal_as_it_is(tmp_path, toy_edit, photo_file):
    """Escape sequences in a file and in a name; an encoding without the letters; a name that is no UTF-8."""
    path = tmp_path / os.fsdecode("\udcff夏.safetensors".encode("utf-8", "surrogateescape"))
    vii.save_edit(dataclasses.replace(toy_edit, title="t" * 20), path)
    evil = tmp_path / "evil\x1b]0;owned\x07.safetensors"
    evil.write_bytes(path.read_bytes().replace(b"t" * 20, rb"\u001b]0;owned\u0007"))
    for encoding in ("ascii", "cp1252", "utf-8"):
        environment = os.environ | {"PYTHONIOENCODING": encoding, "FORCE_COLOR": "1", "VII_DEBUG": "0"}
        out = tmp_path / f"{encoding}-夏.png"
        for command in (["show", path], ["apply", path, photo_file, "-o", out], ["show", evil]):
            done = subprocess.run([sys.executable, "-m", "vii", *command], env=environment, capture_output=True)
            told = done.stdout + done.stderr
            assert done.returncode == (command[-1] != path and command[0] == "show"), told
            assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]|Traceback", told.replace(b"\r\n", b"\n")), told
        assert out.exists()


def test_a_reader_that_is_gone_and_a_full_disk(toy_file):
    command = [sys.executable, "-m", "vii", "show", str(toy_file)]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")
    if os.path.exists("/dev/full"):
        with open("/dev/full", "w") as full:
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        assert (done.returncode, done.stderr.strip()) == (1, "vii: reading or writing failed: No space left on device")
