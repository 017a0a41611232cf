"""How much an edit flickers on a clip: each frame from fresh noise, each from the same, and that steadied.

    python recipes/flicker.py learned_instructions/dream.safetensors --frames 200 [--out FOLDER]

The clip is drawn: a photo that stands still under the grain of a camera, and a disc that moves before it. Printed are
`flicker` in levels of 255, how far the results lie from those of the same noise (a picture that is
smeared lies far), and whether length, time stamps and sound of the written clip are those of the source. With --out
the clips are kept, to look at.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

import vii
from vii.clips import change
from vii.demo import FOLDER
from vii.finish.steady import Steady
from vii.images import from_array, resize, to_array

RATE, TICKS, SAMPLES, GRAIN = 25, 12_800, 44_100, 1.5
# Levels of 255 by which a pixel of the source may differ from the frame before and still has not changed.
STILL = 4
Frames = Iterator[np.ndarray]


def flicker(source: Iterable[np.ndarray], result: Iterable[np.ndarray]) -> float:
    """Mean absolute difference between consecutive results, less that of the source, where the source did not change.

    In levels of 255, over all pixels and channels of all frames but the first. A pixel did not change where none of its
    channels differs by more than `STILL` levels. 0: the result changes there as much as the source does.

    Args:
        source: frames `(h, w, 3)`, uint8.
        result: as many, of the same size.

    Raises:
        ValueError: no two frames, or no pixel that stays.
    """
    total, count = 0.0, 0
    before: tuple[np.ndarray, np.ndarray] | None = None
    for frames in zip(source, result, strict=True):
        now = (frames[0].astype(np.int16), frames[1].astype(np.int16))
        if before is not None:
            theirs, ours = (np.abs(frame - last) for frame, last in zip(now, before, strict=True))
            still = theirs.max(2) <= STILL
            total += float((ours - theirs)[still].sum())
            count += 3 * int(still.sum())
        before = now
    if not count:
        raise ValueError("expected at least two frames, and pixels that stay as they are")
    return total / count


def drawn(count: int, height: int = 240, width: int = 320) -> Frames:
    """The frames, before they are encoded."""
    photo = to_array(resize(vii.load_image(FOLDER / "astronaut.jpg"), height, width))
    rng, (down, across) = np.random.default_rng(0), np.mgrid[:height, :width]
    for number in range(count):
        at = (0.1 + 0.8 * number / count) * width
        disc = (down - height * 0.7) ** 2 + (across - at) ** 2 < (height / 10) ** 2
        frame = np.where(disc[..., None], (220, 60, 30), photo) + rng.normal(0, GRAIN, (height, width, 3))
        yield frame.round().clip(0, 255).astype(np.uint8)


def write(path: Path, frames: Frames) -> None:
    """A clip of these frames, of uneven time stamps, with a sound."""
    with av.open(str(path), "w") as clip:
        video, sound = (
            clip.add_stream("libx264", rate=RATE, options={"crf": "12"}),
            clip.add_stream("aac", rate=SAMPLES),
        )
        video.time_base = video.codec_context.time_base = Fraction(1, TICKS)
        for number, pixels in enumerate(frames):
            if number == 0:
                (video.height, video.width), video.pix_fmt = pixels.shape[:2], "yuv420p"
                video.codec_context.colorspace, video.codec_context.color_range = 1, 1
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
                format="yuv420p", dst_colorspace=1, src_color_range=2, dst_color_range=1
            )
            frame.pts, frame.time_base = number * TICKS // RATE + 64 * (number % 3), Fraction(1, TICKS)
            clip.mux(video.encode(frame))
        clip.mux(video.encode(None))
        tone = (8000 * np.sin(np.arange(SAMPLES * (number + 1) // RATE) * 0.06)).astype(np.int16)
        samples = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
        samples.rate, samples.pts = SAMPLES, 0
        clip.mux([*sound.encode(samples), *sound.encode(None)])


def told(path: Path) -> tuple[list[Fraction], list[tuple[int | None, bytes]], int]:
    """Time stamps of the frames, packets of the sound, and microseconds."""
    with av.open(str(path)) as clip:
        sound = [(p.pts, bytes(p)) for p in clip.demux(clip.streams.audio[0]) if p.dts is not None]
        clip.seek(0)
        return [frame.pts * frame.time_base for frame in clip.decode(video=0)], sound, clip.duration or 0


def ways(editor: vii.Editor, edit: vii.Edit, share: float) -> dict[str, Callable[[Frames], Frames]]:
    """What is compared: frames -> results."""
    same = vii.Application(editor, edit)

    def fresh(frames: Frames) -> Frames:
        for number, pixels in enumerate(frames):
            yield to_array(vii.Application(editor, edit, seed=number)(from_array(pixels)))

    def again(frames: Frames, steady: Steady | None = None) -> Frames:
        return map(to_array, same.many(map(from_array, frames), steady=steady))

    steadied = {f"the same noise, steadied by {share:g}": lambda frames: again(frames, Steady(share))}
    return {"fresh noise for each frame": fresh, "the same noise": again, **steadied}


def main() -> None:
    """Compare, and print a table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("edit", type=Path)
    arguments.add_argument("--frames", type=int, default=200)
    arguments.add_argument("--steady", type=float, default=0.8)
    arguments.add_argument("--out", type=Path)
    given = arguments.parse_args()
    edit = vii.load_edit(given.edit)
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        write(source := folder / "source.mp4", drawn(given.frames))
        seen: list[np.ndarray] = []
        change(source, folder / "again.mp4", lambda frames: (seen.append(frame) or frame for frame in frames))
        results = {}
        for number, (name, way) in enumerate(
            ways(vii.load_editor(edit.editor or "embedded"), edit, given.steady).items()
        ):
            made: list[np.ndarray] = []
            written = folder / f"{number}.mp4"
            change(source, written, lambda frames, way=way, made=made: (made.append(f) or f for f in way(frames)))
            results[name] = made
            kept = ["unchanged" if a == b else "CHANGED" for a, b in zip(told(source), told(written), strict=True)]
            print(f"{name}: time stamps {kept[0]}, sound {kept[1]}, length {kept[2]}")
        same = np.stack(results["the same noise"]).astype(np.int16)
        print(f"\n| {given.frames} frames | flicker | from the same noise |\n|---|---|---|")
        for name, made in results.items():
            print(f"| {name} | {flicker(seen, made):.2f} | {np.abs(np.stack(made) - same).mean():.2f} |")


if __name__ == "__main__":
    main()
