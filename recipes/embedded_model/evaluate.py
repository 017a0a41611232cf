"""How good an embedded model is on photos that nothing was trained on: tables and sheets.

`python -m recipes.embedded_model.evaluate MODEL --photos DIR -o OUT`
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor

import vii
from vii.evaluation.metrics import psnr
from vii.evaluation.synthetic import FAMILIES, PLACES, SyntheticEdit, make, sample
from vii.evaluation.synthetic.family import HUES
from vii.files import make_folder
from vii.images import spread
from vii.rendering.sheets import contact_sheet

from .data import SIZE, center_crop, open_photo, photo_paths, to_tensor

# What the model itself makes, for it is the model that is measured here.
AS_MADE = {"finish": "none", "size": "editor"}
SHEET = ("sepia", "night", "tint", "duotone", "sketch", "neon")
SHEET += ("watercolor", "thermal", "fog", "frame", "shape", "half_gray")


# An instruction in words and a photo -> the edited photo, images (3, h, w) in [0, 1].
ByWords = Callable[[str, Tensor], Tensor]


def through_autoencoder(editor: vii.Editor, picture: Tensor) -> Tensor:
    """The picture encoded and decoded: no edit can come closer to its truth."""
    vae = editor.parts.vae
    with torch.no_grad():
        return (vae.decode(vae.encode(picture[None] * 2 - 1).latents).sample[0] / 2 + 0.5).clamp(0, 1)


def draw(name: str, rng: np.random.Generator) -> SyntheticEdit:
    """A random edit of one family, or a composition."""
    if name == "two or three steps":
        return sample(rng, compositions=1.0)
    return make(name, **{key: parameter.draw(rng) for key, parameter in FAMILIES[name].parameters.items()})


def families(
    by_words: ByWords,
    finished: ByWords,
    ceiling: Callable[[Tensor], Tensor],
    photos: list[Tensor],
    large: list[Tensor],
    each: int,
    seed: int = 42,
) -> list[dict[str, float | str]]:
    """PSNR of no edit, of the instruction in words and of the autoencoder alone; then at the photos' own size, where
    what was made is finished, of no edit and of the words.

    Parameters and phrasings are random, the same for every model; `large` are the same photos, with more pixels.
    """
    rows: list[dict[str, float | str]] = []
    columns = ("no edit", "words", "ceiling", "large, no edit", "large, finished")
    for index, name in enumerate([*(name for name, family in FAMILIES.items() if family.weight), "two or three steps"]):
        rng, scores = np.random.default_rng((seed, index)), []
        for i in range(each):
            which, edit = (index * 7 + i * 13) % len(photos), draw(name, rng)
            photo, own, words = photos[which], large[which], edit.instruction(rng)
            truth, own_truth = edit.apply(photo), edit.apply(own)
            made = [psnr(x, truth) for x in (photo, by_words(words, photo), ceiling(truth))]
            scores.append([*made, psnr(own, own_truth), psnr(finished(words, own), own_truth)])
        row = dict(zip(columns, map(float, np.mean(scores, 0)), strict=True))
        gains = {
            "gain": row["words"] - row["no edit"],
            "gain, finished": row["large, finished"] - row["large, no edit"],
        }
        rows.append({"family": name, **row, **gains})
        print(f"{name:>20} " + " ".join(f"{value:6.2f}" for value in (row | gains).values()), flush=True)
    return rows


def nearest(result: Tensor, truths: Mapping[str, Tensor]) -> str:
    """The name of the truth that the result is closest to."""
    return max(truths, key=lambda name: psnr(result, truths[name]))


SWAPS: Mapping[str, tuple[tuple[str, ...], Callable[[str], SyntheticEdit]]] = {
    "tint: colour": (tuple(HUES), lambda word: make("tint", c=HUES[word], s=0.8)),
    "neon: colour": (tuple(HUES), lambda word: make("neon", c=HUES[word], s=0.8)),
    "frame: colour": (tuple(HUES), lambda word: make("frame", c=HUES[word], w=0.08)),
    "spotlight: place": (tuple(PLACES), lambda word: make("spotlight", pos=word)),
    "half_gray: side": (("left", "right", "top", "bottom"), lambda word: make("half_gray", side=word)),
    "shape: colour": (tuple(HUES), lambda word: make("shape", c=HUES[word], shape="circle", pos="center", r=0.2)),
    "shape: place": (tuple(PLACES), lambda word: make("shape", c=0, shape="circle", pos=word, r=0.17)),
    "shape: shape": (
        ("circle", "square", "triangle", "star", "heart"),
        lambda word: make("shape", c=222, shape=word, pos="center", r=0.22),
    ),
}


def swaps(by_words: ByWords, photos: list[Tensor], each: int) -> dict[str, float]:
    """Share of instructions whose result is closer to its own truth than to that of any other word in its place."""
    shares = {}
    for label, (words, edit) in SWAPS.items():
        right = []
        for j, photo in enumerate(photos[:each]):
            truths = {word: edit(word).apply(photo) for word in words}
            for i, word in enumerate(words):
                if each * len(words) <= 40 or (i + j) % 2 == 0:
                    right.append(nearest(by_words(edit(word).instruction(), photo), truths) == word)
        shares[label] = float(np.mean(right))
        print(f"{label:>20} {shares[label]:.0%} of {len(right)}", flush=True)
    return shares


def objects(by_words: ByWords, photos: list[Tensor], count: int, seed: int = 7) -> dict[str, float]:
    """Shares of drawn objects with the right place, shape and colour, each judged by the nearest truth that differs
    in that respect alone, and with all three.
    """
    rng, hits = np.random.default_rng(seed), []
    alternatives = {"pos": tuple(PLACES), "shape": FAMILIES["shape"].parameters["shape"].words, "c": tuple(HUES)}
    for i in range(count):
        photo, right = photos[i % len(photos)], {key: str(rng.choice(words)) for key, words in alternatives.items()}
        result = by_words(_object(right).instruction(), photo)
        hits.append([])
        for key, words in alternatives.items():
            truths = {word: _object({**right, key: word}).apply(photo) for word in words}
            hits[-1].append(nearest(result, {"none": photo, **truths}) == right[key])
    shares = dict(zip(("place", "shape", "colour"), np.mean(hits, 0), strict=True))
    return {**{name: float(share) for name, share in shares.items()}, "all three": float(np.mean(np.all(hits, 1)))}


def _object(words: Mapping[str, str]) -> SyntheticEdit:
    return make("shape", r=0.2, **{**words, "c": HUES[words["c"]]})


def sheet_edits() -> list[SyntheticEdit]:
    """Twelve edits of as many families, with random parameters."""
    rng = np.random.default_rng(3)
    return [draw(name, rng) for name in SHEET]


def sheet(editor: vii.Editor, learned: Sequence[vii.Edit], photos: Mapping[str, Tensor]) -> Tensor:
    """Each photo under twelve edits: the truth, by words, and by tokens learned from one pair of another photo."""
    edits = sheet_edits()
    rows = []
    for name, photo in photos.items():
        rows.append([(name, photo), *((edit.instruction(), edit.apply(photo)) for edit in edits)])
        words = (vii.apply(editor, None, photo, text=edit.instruction(), seed=0, **AS_MADE) for edit in edits)
        rows.append([("by words", photo), *(("", result) for result in words)])
        tokens = (vii.apply(editor, edit, photo, seed=0, **AS_MADE) for edit in learned)
        rows.append([("by tokens", photo), *(("", result) for result in tokens)])
    return contact_sheet(rows, cell=128)


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--photos", required=True, type=click.Path(path_type=Path), help="Photos that nothing was trained on.")
@click.option("--each", default=6, show_default=True, help="Pairs a family.")
@click.option("--sheet-photos", type=click.Path(path_type=Path), help="Photos of a second sheet, free to be shown.")
@click.option("-o", "--output", default="embedded-evaluation", show_default=True, type=click.Path(path_type=Path))
def main(model: Path, photos: Path, each: int, sheet_photos: Path | None, output: Path) -> None:
    """Tables of what MODEL does by words, and a sheet of pictures."""
    make_folder(output)
    editor = vii.load_editor("embedded", model=str(model))

    def by_words(text: str, photo: Tensor) -> Tensor:
        return vii.apply(editor, None, photo, text=text, seed=0, **AS_MADE)

    def finished(text: str, photo: Tensor) -> Tensor:
        return vii.apply(editor, None, photo, text=text, seed=0)

    paths = photo_paths(photos)
    held_out, large = ([to_tensor(center_crop(open_photo(path), side)) for path in paths] for side in (SIZE, 2 * SIZE))
    started = time.perf_counter()
    plain = [psnr(through_autoencoder(editor, photo), photo) for photo in held_out]
    empty = [psnr(by_words(" ", photo), photo) for photo in held_out]
    print(f"autoencoder {np.mean(plain):.2f} dB; empty instruction {np.mean(empty):.2f} dB", flush=True)
    rows = families(by_words, finished, partial(through_autoencoder, editor), held_out, large, each)
    report = {
        "autoencoder": float(np.mean(plain)),
        "empty instruction": float(np.mean(empty)),
        "families": rows,
        "mean gain": float(np.mean([float(row["gain"]) for row in rows])),
        "mean gain, finished": float(np.mean([float(row["gain, finished"]) for row in rows])),
        "families that lose": [row["family"] for row in rows if float(row["gain"]) < 0],
        "swaps": swaps(by_words, held_out, 4),
        "objects": objects(by_words, held_out, 60),
    }
    (output / "evaluation.json").write_text(json.dumps(report, indent=1))
    example, *others = zip(paths, held_out, strict=True)
    pairs = [vii.Pair(example[1], edit.apply(example[1])) for edit in sheet_edits()]
    learned = [vii.invert(editor, [pair], seed=0) for pair in pairs]
    chosen = {path.stem[:18]: photo for path, photo in spread(others, 8)}
    vii.save_image(sheet(editor, learned, chosen), output / "sheet.png")
    if sheet_photos:
        shown = {p.stem: to_tensor(center_crop(open_photo(p))) for p in photo_paths(sheet_photos)[:8]}
        vii.save_image(sheet(editor, learned, shown), output / "sheet-free.png")
    print(json.dumps({key: report[key] for key in report if key != "families"}, indent=1))
    print(f"{time.perf_counter() - started:.0f} s; {output}")


if __name__ == "__main__":
    main()
