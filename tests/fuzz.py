"""Broken and hostile input by the thousand: `python -m tests.fuzz --seconds 60 --seed 0`, from the root of the project.

Each case is made from a seed and a number alone, so that a finding can be made again (`--kinds edits --first 17
--count 1`). Input is broken where its format has joints: a value of a header, a field of an answer, a tag of a picture.
A case is a finding where a command raises, ends with anything but 0 or 1, takes more than `--limit` seconds of
processor time, or prints a control character; what was given is then kept in `--keep`. The tests run a small share.
"""

import argparse
import contextlib
import functools
import io
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from vii.cores import share_cores

share_cores()
os.environ |= {"VII_DEBUG": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
sys.path.insert(0, str(Path(__file__).parent))  # run as a module, or imported by a test

import numpy as np
import torch
from broken import DEEP, TEXTS, VALUES, broken_bytes, broken_exif, broken_value, served, toml
from click.testing import CliRunner
from PIL import Image, PngImagePlugin

import vii
from vii import editors
from vii.cli import main
from vii.editors.toy import ToyEditor
from vii.inversion import InversionSettings

PROJECT = Path(__file__).parents[1]
LIMIT = 2.0
# What may stand in what a command prints: no control character but the end of a line, nothing that turns text around.
CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@functools.cache
def loaded(name: str, options: tuple[tuple[str, Any], ...]) -> Any:
    """An editor, loaded once: what is given with it is what is tried here."""
    return load_editor(name, **dict(options))


load_editor = editors.load_editor


class Fuzzer:
    """One seed's cases, in a folder of their own with a library of its own."""

    def __init__(self, seed: int, folder: Path, keep: Path | None = None, limit: float = LIMIT) -> None:
        self.seed, self.folder, self.keep, self.limit = seed, folder, keep, limit
        self.tried, self.findings, self.runner = Counter[str](), list[str](), CliRunner()
        os.environ["VII_LIBRARY"] = str(folder / "library")
        warnings.simplefilter("ignore")
        pixels = np.linspace(0, 255, 40 * 32 * 3).reshape(32, 40, 3).astype(np.uint8)
        self.picture = Image.fromarray(pixels)
        self.photo = folder / "photo.png"
        self.picture.save(self.photo)
        toy = ToyEditor()
        labels = {
            "title": "Bands",
            "author": "Ada",
            "tags": ("red", "test"),
            "training": {"explained": 0.8, "steps": 3},
        }
        tokens = torch.linspace(-0.3, 0.3, 12).reshape(4, 3)
        edit = vii.Edit(tokens=tokens, space=toy.space, editor="toy", init_text="red", start=1, resolution=32, **labels)
        self.edit = folder / "bands.safetensors"
        vii.save_edit(edit, self.edit)
        loaded("embedded", ())
        self.edits = [self.edit.read_bytes()] * 3
        self.edits += [
            path.read_bytes() for path in sorted((PROJECT / "learned_instructions").glob("*.safetensors"))[:3]
        ]

    # --- one case of each kind

    def edits_case(self, random: random.Random, place: Path) -> None:
        """An edit file through all that takes one; its header's values, its tensors, its bytes."""
        data = random.choice(self.edits)
        size = int.from_bytes(data[:8], "little")
        header, rest = json.loads(data[8 : 8 + size]), data[8 + size :]
        match random.randrange(6):
            case 0:
                data = broken_bytes(random, data)
            case 1:  # the numbers of the tensors
                tensors = np.frombuffer(rest, "<f4").copy()
                tensors[random.randrange(len(tensors))] = random.choice((np.nan, np.inf, -np.inf, 1e30, 1e-45))
                data = data[: 8 + size] + tensors.tobytes()
            case 2:
                text = json.dumps(header).replace('"Bands"', random.choice((DEEP, "9" * 5000, "NaN", "1e999")))
                data = len(text).to_bytes(8, "little") + text.encode() + rest
            case _:
                meta = header["__metadata__"]
                header["__metadata__"] = broken_value(random, meta)
                if random.random() < 0.3:
                    header = broken_value(random, header)
                text = json.dumps(header)
                data = len(text).to_bytes(8, "little") + text.encode() + rest
        file = place / "edit.safetensors"
        file.write_bytes(data)
        with contextlib.suppress(vii.ViiError):
            vii.load_edit(file)
        self.command("show", file)
        self.command("show", file, "--json")
        self.command("push", file, "ada/bands", "--dry-run", place / "card")
        self.command(
            "gallery", place, "-o", place / "gallery", "--photos", self.folder, "--count", "1", "--editor", "toy"
        )
        self.command("export", file, "--format", random.choice(("npz", "diffusers-ti")), "-o", place / "out.x")
        self.command("apply", file, self.photo, "-o", place / "out.png", *random.choice(((), ("--editor", "toy"))))
        self.command("library", "add", file)
        self.command("library", "list")

    def pictures_case(self, random: random.Random, place: Path) -> None:
        """A picture, its tags, its chunks, its bytes, as a photo or as a mask."""
        kind = random.choice(("PNG", "PNG", "JPEG", "JPEG", "TIFF", "BMP", "WEBP", "GIF", "PPM"))
        mode = random.choice(
            {"PNG": ("RGB", "RGBA", "P", "L", "LA", "I;16", "1"), "TIFF": ("RGB", "L", "CMYK", "F", "I")}.get(
                kind, ("RGB", "L")
            )
        )
        picture, extra, buffer = self.picture.convert("RGB"), {}, io.BytesIO()
        picture = Image.new(mode, picture.size) if mode == "I;16" else picture.convert(mode)
        if kind in ("JPEG", "PNG", "TIFF", "WEBP") and random.random() < 0.6:
            extra["exif"] = broken_exif(random)
        if kind in ("JPEG", "PNG", "WEBP") and random.random() < 0.2:
            extra["icc_profile"] = random.randbytes(random.choice((3, 128, 600)))
        if kind == "PNG" and random.random() < 0.4:
            info = PngImagePlugin.PngInfo()
            key = random.choice(("vii", "parameters", "XML:com.adobe.xmp"))
            info.add_itxt(key, json.dumps(random.choice(VALUES))[:100_000], zip=random.random() < 0.5)
            extra["pnginfo"] = info
        picture.save(buffer, kind, **extra)
        data = buffer.getvalue()
        data = broken_bytes(random, data) if random.random() < 0.7 else data
        file = place / f"picture.{random.choice(('png', 'jpg', 'tif', kind.lower()))}"
        file.write_bytes(data)
        with contextlib.suppress(vii.ViiError):
            vii.load_image(file)
        if random.random() < 0.2:
            self.command("apply", self.edit, self.photo, "--mask", file, "-o", place / "out.png")
        else:
            options = random.choice(((), ("--keep-metadata",), ("--size", "editor"), ("--finish", "none")))
            self.command("apply", self.edit, file, "-o", place / "out.png", *options)
        if file.suffix == ".png":
            self.command("show", file)

    def recipes_case(self, random: random.Random, place: Path) -> None:
        """A recipe, read as `vii learn` reads it; pictures that are not there end the command before it learns."""
        names = [field.name for field in fields(InversionSettings)]
        content: dict[str, Any] = {
            "description": "x",
            "base": "default",
            "inversion": {name: random.choice(VALUES) for name in random.sample(names, random.choice((0, 1, 2)))},
            "pair": {"before": "b.png", "after": "a.png"},
        }
        if random.random() < 0.6:
            content = broken_value(random, content)
        text = toml(content) if isinstance(content, dict) else str(content)
        data = text.encode("utf-8", "surrogatepass")
        data = broken_bytes(random, data) if random.random() < 0.2 else data
        data = (b"description = " + DEEP.encode()) if random.random() < 0.01 else data
        file = place / "recipe.toml"
        file.write_bytes(data)
        self.command("learn", "--recipe", file, "-o", place / "e.safetensors", "--editor", "toy")
        name = random.choice(names)
        setting = f"{name}={random.choice([*TEXTS, *map(str, VALUES[:16])])}".replace("\x00", "")
        self.command("learn", place / "b.png", place / "a.png", "-o", place / "e.safetensors", "--set", setting)

    def hub_case(self, random: random.Random, place: Path) -> None:
        """What a Hub may answer to `vii pull` and `vii push`."""
        with served(random, random.choice(self.edits)) as reference:
            self.command("pull", reference, "-o", place / "pulled.safetensors")
            self.command("pull", reference, "--as", f"hub-{random.randrange(10**9)}")
            if random.random() < 0.3:
                self.command("push", self.edit, reference)

    def names_case(self, random: random.Random, place: Path) -> None:
        """Names of files, of edits, of repositories, and what people write about an edit."""
        alphabet = "ab .-_:/\\'\"\n\t\x1b\x07\x9b\u202e\u200b\udcff夏é🧑\u3000*?~$%"
        name = random.choice(
            (
                "".join(random.choices(alphabet, k=random.choice((1, 3, 12)))),
                random.choice(TEXTS),
                "n" * random.choice((255, 300)),
            )
        ).replace("\x00", "")
        photo, edit = place / f"{name}.png", place / f"{name}.safetensors"
        with contextlib.suppress(OSError, ValueError):
            shutil.copy(self.photo, photo)
            shutil.copy(self.edit, edit)
        seed = random.choice(("0", "-1", "9" * 5000, str(2**70), "1e3", name))
        commands: list[Sequence[Any]] = [
            ("apply", edit, photo, "-o", place / "out"),
            ("apply", self.edit, self.photo, "-o", place / f"o{name}"),
            (
                "apply",
                f"{self.edit}:{random.choice(('nan', '1e400', '-0', '', name))}",
                self.photo,
                "-o",
                place / "w.png",
            ),
            ("apply", self.edit, self.photo, "-o", place / "s.png", "--seed", seed),
            ("apply", self.edit, place, "-o", place / "all"),
            ("show", name),
            ("show", photo),
            ("show", edit),
            ("library", "add", self.edit, "--name", name),
            ("library", "remove", name),
            ("gallery", place, "-o", place / f"g{name}", "--photos", place, "--count", "1", "--title", name),
            ("export", edit, "--format", "npz", "-o", place / f"x{name}"),
            ("pull", name, "-o", edit),
            (
                "learn",
                photo,
                photo,
                "-o",
                place / "learned.safetensors",
                "--editor",
                "toy",
                "--set",
                "steps=1",
                "--init",
                "none",
                "--tokens",
                "2",
                "--title",
                name,
                "--tag",
                name,
                "--author",
                name,
            ),
            ("learn", name, photo, "-o", edit),
            (name,),
        ]
        for command in random.sample(commands, 4):
            self.command(*command)

    # --- running them

    def command(self, *arguments: Any) -> None:
        """One command, in this process."""
        given = [str(argument) for argument in arguments]
        started = time.process_time()
        editors.load_editor = lambda name="embedded", **options: loaded(name, tuple(sorted(options.items())))
        try:
            result = self.runner.invoke(main, given)
        finally:
            editors.load_editor = load_editor
        seconds = time.process_time() - started
        error = result.exception if not isinstance(result.exception, SystemExit) else None
        if error is not None:
            raise error
        printed = result.stdout + result.stderr
        assert result.exit_code in (0, 1), f"exit code {result.exit_code}: {printed[:300]!r}"
        assert result.exit_code == 0 or "vii: " in result.stderr, f"failed without a word: {given}"
        assert not (found := CONTROLS.search(printed)), (
            f"printed {found[0]!r}: {printed[max(0, found.start() - 60) :][:150]!r}"
        )
        assert seconds < self.limit, f"took {seconds:.1f} s: {given}"

    def run(self, kind: str, number: int) -> bool:
        """One case; False where it is a finding."""
        random_, place = random.Random(f"{self.seed} {kind} {number}"), self.folder / "case"
        shutil.rmtree(place, ignore_errors=True)
        shutil.rmtree(self.folder / "library", ignore_errors=True)
        place.mkdir()
        self.tried[kind] += 1
        try:
            with alarm(20 * self.limit):
                getattr(self, f"{kind}_case")(random_, place)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            told = f"{type(error).__name__}: {str(error)[:500]} ({Path(where.filename).name}:{where.lineno})"
            self.findings.append(f"{kind} {number}: {told}")
            if self.keep:
                shutil.copytree(place, self.keep / f"{kind}-{self.seed}-{number}", dirs_exist_ok=True)
                (self.keep / f"{kind}-{self.seed}-{number}" / "why.txt").write_text(
                    "".join(traceback.format_exception(error)), encoding="utf-8", errors="backslashreplace"
                )
            return False
        return True


KINDS = ("edits", "pictures", "recipes", "hub", "names")


@contextlib.contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """TimeoutError where something waits for ever."""

    def ring(*_: Any) -> None:
        raise TimeoutError(f"still running after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def arguments() -> argparse.Namespace:
    """The command line of this program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="how long to go on")
    parser.add_argument("--count", type=int, default=10**9, help="how many cases of each kind")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"), help="where findings are kept")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds of processor time a command may take")
    return parser.parse_args()


def cases(options: argparse.Namespace) -> Iterator[tuple[str, int]]:
    """Kinds in turn until the time or the count is over."""
    end = time.monotonic() + options.seconds
    for number in range(options.first, options.first + options.count):
        for kind in options.kinds:
            if time.monotonic() > end:
                return
            yield kind, number


def run() -> int:
    """The program; 1 where something was found."""
    options, show = arguments(), sys.stdout.isatty()
    with tempfile.TemporaryDirectory(prefix="vii-fuzz-") as folder:
        fuzzer = Fuzzer(options.seed, Path(folder), options.keep, options.limit)
        for kind, number in cases(options):
            if not fuzzer.run(kind, number):
                print(fuzzer.findings[-1].encode("ascii", "backslashreplace").decode(), flush=True)
            elif show and number % 20 == 0:
                print(f"\r{dict(fuzzer.tried)}", end="", flush=True)
        print(f"{dict(fuzzer.tried)} tried, {len(fuzzer.findings)} findings")
        return 1 if fuzzer.findings else 0


if __name__ == "__main__":
    sys.exit(run())
