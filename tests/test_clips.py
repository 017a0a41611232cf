"""Clips: colours, time stamps, sound and turns kept, little held in memory, bad files in one line."""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from click.testing import CliRunner

import vii
from recipes import flicker
from vii.cli import main
from vii.clips import change, check_output, is_clip, look_at
from vii.demo import FOLDER as DEMO
from vii.errors import ImageError, OutputError, UsageError
from vii.files import made_by_vii
from vii.finish.color import ColorTransform
from vii.finish.finish import Finish
from vii.finish.terms import Terms
from vii.runs.clips import edit_clip
from vii.runs.plans import Request
from vii.strict import loads

TICKS, RATE, SAMPLES = 12_800, 25, 8_000
HEIGHT, WIDTH = 48, 64
# Of ITU-R BT.709 and BT.601: what red and blue are of the brightness.
WEIGHTS = {1: (0.2126, 0.0722), 6: (0.299, 0.114)}


def picture(number=0):
    """Smooth colours `(h, w, 3)` in [0, 1], which half as many samples of colour hold."""
    down, across = np.mgrid[:HEIGHT, :WIDTH]
    down, across = down / HEIGHT, across / WIDTH
    return np.stack([0.2 + 0.6 * across, 0.3 + 0.4 * down, 0.7 - 0.5 * across * down + 0.01 * number], 2)


def coded(rgb, matrix, full):
    """RGB `(h, w, 3)` in [0, 1] as planes of yuv420p, by the equations of BT.709 (3) and BT.601 (2.5)."""
    red, blue = WEIGHTS[matrix]
    luma = rgb @ (red, 1 - red - blue, blue)
    chroma = [(rgb[..., 2] - luma) / (2 - 2 * blue), (rgb[..., 0] - luma) / (2 - 2 * red)]
    # Samples of colour lie in columns 0, 2, ... and between the rows (H.264, figure E-1).
    means = [(np.roll(plane, 1, 1) + 2 * plane + np.roll(plane, -1, 1))[:, ::2] / 4 for plane in chroma]
    means = [plane.reshape(HEIGHT // 2, 2, -1).mean(1).reshape(-1, WIDTH) for plane in means]
    scale, offset, spread = (255, 0, 255) if full else (219, 16, 224)
    return np.concatenate([luma * scale + offset, *(plane * spread + 128 for plane in means)]).round().astype(np.uint8)


def write(path, frames, *, matrix=1, full=False, turn=0, sound=True, transfer=1):
    """A clip without losses, of uneven time stamps."""
    with av.open(str(path), "w") as clip:
        video = clip.add_stream("libx264", rate=RATE, options={"qp": "0"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.time_base = video.codec_context.time_base = Fraction(1, TICKS)
        context = video.codec_context
        context.colorspace, context.color_range, context.color_primaries = matrix, 2 if full else 1, 1
        context.color_trc = transfer
        if turn:
            video.set_display_rotation(turn)
        other = clip.add_stream("aac", rate=SAMPLES) if sound else None
        for number, rgb in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(coded(rgb, matrix, full), format="yuv420p")
            frame.pts, frame.time_base = number * TICKS // RATE + 64 * (number % 3), Fraction(1, TICKS)
            clip.mux(video.encode(frame))
        clip.mux(video.encode(None))
        if other:
            tone = (8000 * np.sin(np.arange(SAMPLES * len(frames) // RATE) * 0.3)).astype(np.int16)
            samples = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
            samples.rate, samples.pts = SAMPLES, 0
            clip.mux([*other.encode(samples), *other.encode(None)])
    return path


def read(path):
    """Frames as they are shown."""
    seen = []
    change(path, path.with_name("read.mkv"), lambda frames: (seen.append(frame) or frame for frame in frames))
    return np.stack(seen).astype(int)


def told(path):
    """Time stamps, packets of the sound, frames a second, microseconds."""
    with av.open(str(path)) as clip:
        sounds = [(p.pts, bytes(p)) for p in clip.demux(clip.streams.audio[0]) if p.dts is not None]
        clip.seek(0)
        video = clip.streams.video[0]
        return [f.pts * f.time_base for f in clip.decode(video)], sounds, video.average_rate, clip.duration


@pytest.fixture
def clip(tmp_path):
    return write(tmp_path / "clip.mp4", [picture(number) for number in range(12)])


def test_the_length_is_kept_where_frames_are_not_shown_equally_long(tmp_path):
    source = tmp_path / "source.mp4"
    flicker.write(source, flicker.drawn(50, 64, 96))
    change(source, tmp_path / "out.mp4", lambda frames: frames)
    assert flicker.told(source) == flicker.told(tmp_path / "out.mp4")


@pytest.fixture
def gamma(tmp_path):
    """An edit of colours alone: everything darker."""
    terms = Terms(1)
    coefficients = np.zeros((len(terms), 3), np.float32)
    coefficients[0] = -0.1
    edit = vii.Edit(finish=Finish("color", ColorTransform(terms, coefficients)))
    vii.save_edit(edit, tmp_path / "dark.safetensors")
    return tmp_path / "dark.safetensors"


@pytest.mark.parametrize("matrix", [1, 6])
@pytest.mark.parametrize("full", [False, True])
def test_frames_have_the_colours_that_the_recommendations_define_and_keep_them(tmp_path, matrix, full):
    source = write(tmp_path / "a.mp4", [picture(), picture(3)], matrix=matrix, full=full)
    assert change(source, tmp_path / "b.mp4", lambda frames: frames) == 2
    for path in (source, tmp_path / "b.mp4"):
        difference = (read(path)[0] - picture() * 255)[:, 2:-2]  # no neighbour is rolled in
        assert np.abs(difference).mean() < (1 if path == source else 1.5)
        assert np.abs(difference.mean((0, 1))).max() < (0.2 if path == source else 0.8)
    with av.open(str(tmp_path / "b.mp4")) as written:
        frame = next(written.decode(video=0))
        assert (frame.colorspace, frame.color_range, frame.color_primaries) == (matrix, 2 if full else 1, 1)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_time_stamps_and_sound_are_kept(clip, tmp_path, suffix):
    result = tmp_path / f"out{suffix}"
    assert change(clip, result, lambda frames: (255 - frame for frame in frames)) == 12
    times, sounds, rate, duration = told(clip)
    found = told(result)
    tick = 0 if suffix != ".mkv" else Fraction(1, 1000)  # Matroska counts milliseconds, and from the first sound
    lag = (found[1][0][0] * tick - Fraction(sounds[0][0], SAMPLES)) if tick else 0
    shift = found[0][0] - times[0]
    assert all(abs(b - a - shift) <= tick for a, b in zip(times, found[0], strict=True))
    assert abs(shift - lag) <= tick
    assert [data for _, data in sounds] == [data for _, data in found[1]]
    assert abs(duration + lag * 1_000_000 - found[3]) <= 50_000 * bool(tick)
    if not tick:
        assert sounds == found[1]
        assert abs(found[2] / rate - 1) < 0.03  # which is reckoned from what a clip takes to decode
    assert np.abs(read(result) + read(clip) - 255).mean() < 1.5


@pytest.mark.parametrize("turn", [90, 180, -90])
def test_what_a_header_turns_is_upright(tmp_path, turn):
    lying = read(write(tmp_path / "lying.mp4", [picture()], sound=False))[0]
    # A display matrix turns counter-clockwise by so many degrees (libavutil/display.h).
    source = write(tmp_path / "turned.mp4", [picture()], sound=False, turn=turn)
    with av.open(str(source)) as opened:
        assert next(opened.decode(video=0)).rotation % 360 == turn % 360
    expected = np.rot90(lying, turn // 90)
    assert (read(source)[0] == expected).all()
    change(source, tmp_path / "out.mp4", lambda frames: frames)
    with av.open(str(tmp_path / "out.mp4")) as opened:
        frame = next(opened.decode(video=0))
        assert (frame.rotation, frame.height, frame.width) == (0, *expected.shape[:2])


def test_frames_are_taken_when_they_are_needed(clip, tmp_path):
    taken = given = 0

    def edit(frames):
        nonlocal taken, given
        for frame in frames:
            taken += 1
            assert taken - given == 1
            yield frame
            given += 1

    assert change(clip, tmp_path / "out.mp4", edit) == taken == given == 12


@pytest.mark.parametrize("error", [KeyboardInterrupt, UsageError])
def test_what_is_broken_off_leaves_nothing(clip, tmp_path, error):
    def edit(frames):
        yield next(frames)
        raise error("enough")

    with pytest.raises(error, match="enough"):
        change(clip, tmp_path / "out.mp4", edit)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_what_is_no_clip_is_refused(clip, tmp_path):
    broken = tmp_path / "broken.mp4"
    for content in (b"", b"no clip", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", clip.read_bytes()[:3000]):
        broken.write_bytes(content)
        with pytest.raises(ImageError, match="damaged or cannot be read"):
            look_at(broken)
    with pytest.raises(ImageError, match="no such file"):
        look_at(tmp_path / "none.mp4")
    with pytest.raises(ImageError, match="high dynamic range"):
        look_at(write(tmp_path / "hdr.mp4", [picture()], transfer=16))
    with av.open(str(broken), "w", format="mp4") as sound:
        stream = sound.add_stream("aac", rate=SAMPLES)
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 2048), np.int16), format="s16", layout="mono")
        samples.rate, samples.pts = SAMPLES, 0
        sound.mux([*stream.encode(samples), *stream.encode(None)])
    with pytest.raises(ImageError, match="no pictures"):
        look_at(broken)
    assert is_clip(Path("A.MP4"))
    assert not is_clip(Path("a.png"))
    with pytest.raises(UsageError, match="ends in"):
        check_output("a.avi")


def test_a_format_that_cannot_hold_the_sound_is_one_line(clip, tmp_path):
    with pytest.raises(OutputError, match=r"\.webm.*\.mkv can"):
        change(clip, tmp_path / "out.webm", lambda frames: frames)
    silent = write(tmp_path / "silent.mp4", [picture()], sound=False)
    assert change(silent, tmp_path / "out.webm", lambda frames: frames) == 1


def test_an_edit_of_colours_needs_no_torch(clip, gamma, tmp_path):
    code = f"""
import sys
from vii.cli import main
main(["apply", {str(gamma)!r}, {str(clip)!r}, "-o", {str(tmp_path / "out.mp4")!r}], standalone_mode=False)
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(vii.__file__).parents[1])
    assert np.abs(read(tmp_path / "out.mp4") - (read(clip) - 25.5)).mean() < 2


def test_a_clip_is_edited_as_its_frames_are_alone(toy, toy_edit, clip, tmp_path):
    plan, _ = Request([(toy_edit, 1.0)], ["red"], {"editor": "toy"}, options={"seed": 3}).plan()
    frames = read(clip)
    advanced = []
    assert edit_clip(clip, tmp_path / "out.mp4", plan, advance=lambda: advanced.append(1)) == len(advanced) == 12
    alone = vii.apply(toy, toy_edit, frames[5].astype(np.uint8), seed=3)
    made = read(tmp_path / "out.mp4")[5]
    assert np.abs(made - alone.permute(1, 2, 0).numpy() * 255).mean() < 2
    with av.open(str(tmp_path / "out.mp4")) as written:
        record = loads(written.metadata["description"])
        assert record["edits"][0]["name"] == "red"
        assert record["size"] == [WIDTH, HEIGHT]
        assert "Seed: 3" in written.metadata["comment"]
    assert made_by_vii(tmp_path / "out.mp4")


def test_the_command_edits_one_clip_and_refuses_what_makes_no_sense(clip, gamma, tmp_path):
    def run(*arguments):
        return CliRunner().invoke(main, ["apply", str(gamma), *map(str, arguments)])

    for arguments, message in (
        ((clip, clip, "-o", tmp_path), "one clip"),
        ((clip, "-o", tmp_path / "a.mp4", "--quality", 80), "--quality"),
        ((clip, "-o", tmp_path / "a.mp4", "--actors", 2), "give --engine ray too"),
        ((clip, "-o", tmp_path / "a.mp4", "--engine", "ray"), "leave out --server and --engine"),
        ((clip, "-o", tmp_path / "a.mp4", "--server", "http://127.0.0.1:9"), "leave out --server and --engine"),
        ((clip, "-o", tmp_path / "a.png"), "ends in .mp4"),
        ((clip, "-o", clip), "overwritten"),
        ((DEMO / "before.png", "-o", tmp_path / "a.png", "--steady", 0.5), "--steady"),
    ):
        refused = run(*arguments)
        assert refused.exit_code == 1
        assert message in refused.output
        assert len(refused.output.splitlines()) == 1
    folder = tmp_path / "results"
    assert run(clip, "-o", folder, "--json").exit_code == 0
    assert told(folder / "clip.mp4")[:2] == told(clip)[:2]


def test_the_command_edits_a_clip_with_an_editor_and_a_missing_one_is_no_edit(toy_edit, clip, tmp_path):
    vii.save_edit(toy_edit, tmp_path / "bands.safetensors")

    def run(name):
        command = ["apply", tmp_path / "bands.safetensors", name, "-o", tmp_path / "out.mp4", "--steady", 0.5]
        return CliRunner().invoke(main, list(map(str, command)))

    made = run(clip)
    assert made.exit_code == 0, made.output
    assert len(read(tmp_path / "out.mp4")) == len(read(clip))
    missing = run(tmp_path / "missing.mp4")
    assert (missing.exit_code, "no such file" in missing.output) == (1, True)
