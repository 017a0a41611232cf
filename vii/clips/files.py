"""Clips: their frames read, changed and written again, with their sound and their time stamps as they were. By PyAV.

Frames are RGB as a player shows them: upright, square or not, of 8 bits a channel in the full range.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ImageError, OutputError, UsageError, ViiError
from ..files import MARK, replacing
from ..paths import is_file, what_is
from ..pictures import MAX_PIXELS
from ..text import printable
from .coding import Encoder, Stamp, rate_of

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

INSTALL = "pip install '.[video]' in the folder of vii"
# By suffix: how a clip is read (never guessed from what it holds, which may name other files) and written.
READ = {".mp4": "mov", ".m4v": "mov", ".mov": "mov", ".mkv": "matroska", ".webm": "matroska", ".avi": "avi"}
WRITTEN = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
# Hardly to be told from the source; of H.264, and of VP9, which a .webm holds.
H264 = ("libx264", {"crf": "16", "preset": "medium"})
VP9 = ("libvpx-vp9", {"crf": "20", "b": "0", "cpu-used": "4", "row-mt": "1"})
# A picture of the sound's sleeve, in the streams' dispositions of FFmpeg; transfer functions of H.273.
COVER = 0x400
HDR = {16: "PQ", 18: "HLG"}


def is_clip(path: Path) -> bool:
    """Whether a file is a clip by its name."""
    return path.suffix.lower() in READ


def check_output(path: str | Path) -> None:
    """Refuse a name that says no format in which clips are written.

    Raises:
        UsageError: it does.
    """
    if (suffix := Path(path).suffix).lower() not in WRITTEN:
        raise UsageError(f"{path}: expected a name that ends in {', '.join(WRITTEN)}, got {suffix or 'no suffix'}")


@dataclass(frozen=True)
class Clip:
    """What is known of a clip before its frames are decoded.

    Attributes:
        frames: how many, about; None where nobody knows.
        rate: frames a second, on average.
        sounds: audio streams.
        notes: what a result will lack, a sentence each.
    """

    frames: int | None
    rate: Fraction
    sounds: int
    notes: tuple[str, ...] = ()


def look_at(path: str | Path) -> Clip:
    """What a clip is.

    Raises:
        UsageError: PyAV is not installed.
        ImageError: the file is missing, no clip, damaged, of high dynamic range, or its codec is not known.
    """
    with _opened(path) as (container, video):
        rate = rate_of(video)
        seconds = float(container.duration or 0) / 1e6
        bits = max((part.bits for part in video.format.components), default=8)
        others = len(container.streams) - 1 - len(container.streams.audio)
        notes: tuple[str, ...] = (f"of {bits} bits a channel 8 are kept",) if bits > 8 else ()
        notes += (f"besides pictures and sound it has {others} other streams, which are left out",) if others else ()
        return Clip(video.frames or round(seconds * rate) or None, rate, len(container.streams.audio), notes)


def change(
    source: str | Path,
    target: str | Path,
    edit: Callable[[Iterator[np.ndarray]], Iterable[np.ndarray]],
    *,
    texts: Callable[[int, int], Mapping[str, str]] = lambda width, height: {},
) -> int:
    """Write a clip anew with other pictures: whole, or not at all.

    Sound is copied packet by packet. Every frame keeps its time stamp and duration, the clip its frame rate, matrix,
    range, primaries and shape of pixels; what a header says of turning it is done to the pixels.

    Args:
        source: the clip.
        target: see `check_output`. H.264, or VP9 in a .webm.
        edit: frames `(h, w, 3)`, uint8 RGB, in their order -> as many, all of one size, likewise.
        texts: gives for width and height of the result what to say in its metadata, such as `comment`.

    Returns:
        how many frames it has.

    Raises:
        UsageError: PyAV is not installed.
        ImageError: see `look_at`; or a frame cannot be decoded.
        OutputError: the file cannot be written, or its format cannot hold the sound.
    """
    av = _pyav()
    check_output(target)
    suffix, written = Path(target).suffix.lower(), 0
    codec, options = VP9 if suffix == ".webm" else H264
    with (
        _opened(source) as (reader, video),
        replacing(target) as temporary,
        _telling(target),
        av.open(str(temporary), "w", format=WRITTEN[suffix]) as writer,
    ):
        made = Encoder(writer, codec, options, video)
        sounds = {stream.index: writer.add_stream_from_template(stream) for stream in reader.streams.audio}
        stamps: deque[Stamp] = deque()
        kept: list[Any] = []  # sound that comes before the first frame is edited

        def frames() -> Iterator[np.ndarray]:
            for packet in _demuxed(source, reader, video):
                if packet.stream is not video:
                    packet.stream = sounds[packet.stream.index]
                    kept.append(packet)
                    if made.begun:
                        writer.mux(kept)
                        kept.clear()
                    continue
                for frame in _decoded(source, packet):
                    stamps.append(Stamp.of(frame))
                    yield stamps[-1].pixels(frame)

        for pixels in edit(frames()):
            if not made.begun:
                told = dict(texts(pixels.shape[1], pixels.shape[0]))
                writer.metadata.update({**told, "comment": f"{told.get('comment', '')} ({MARK})".lstrip()})
            made.write(pixels, stamps.popleft())
            written += 1
        if not written:
            raise ImageError(f"{source}: no frame in it can be decoded")
        made.finish()
        writer.mux(kept)
    return written


def _demuxed(path: str | Path, reader: Any, video: Any) -> Iterator[Any]:
    """Packets of pictures and sound, in their order; the empty ones at the end only of pictures."""
    with _telling_of(path):
        for packet in reader.demux(video, *reader.streams.audio):
            if packet.stream is video or packet.dts is not None:
                yield packet


def _decoded(path: str | Path, packet: Any) -> list["VideoFrame"]:
    with _telling_of(path):
        return [frame for frame in packet.decode() if frame is not None]


@contextmanager
def _telling_of(path: str | Path) -> Iterator[None]:
    """What a library says of a clip that is read."""
    import av

    try:
        yield
    except (av.FFmpegError, EOFError) as error:
        raise ImageError(f"{path}: the clip is damaged or cannot be read ({_reason(error)})") from None


@contextmanager
def _telling(path: str | Path) -> Iterator[None]:
    """What a library says of a clip that is written."""
    import av

    try:
        yield
    except ViiError:
        raise
    except (av.FFmpegError, ValueError) as error:
        kind = Path(path).suffix
        raise OutputError(
            f"{path}: cannot be written ({_reason(error)}); where a {kind} cannot hold the sound, a .mkv can"
        ) from None


def _reason(error: Exception) -> str:
    return printable(getattr(error, "strerror", "") or str(error))[:200]


def _pyav() -> Any:
    try:
        import av
    except ImportError:
        raise UsageError(f"clips need PyAV, which is not installed: {INSTALL}") from None
    av.logging.set_level(av.logging.PANIC)  # FFmpeg prints what is raised as well
    return av


@contextmanager
def _opened(path: str | Path) -> Iterator[tuple[Any, Any]]:
    """A clip, and its stream of pictures."""
    av = _pyav()
    if not is_file(path):
        raise ImageError(f"{path}: {'expected a clip, found ' + kind if (kind := what_is(path)) else 'no such file'}")
    with _telling_of(path):
        container = av.open(str(path), format=READ[Path(path).suffix.lower()])
    with container:
        streams = [stream for stream in container.streams.video if not stream.disposition & COVER]
        if not streams:
            raise ImageError(f"{path}: there are no pictures in this clip")
        video = streams[0]
        if video.codec_context is None:
            raise ImageError(f"{path}: a codec that this PyAV does not know")
        context = video.codec_context
        if context.width * context.height > MAX_PIXELS:
            raise ImageError(f"{path}: {context.width} x {context.height}; at most {MAX_PIXELS:,} pixels are taken")
        if high := HDR.get(int(context.color_trc)):
            raise ImageError(f"{path}: a clip of high dynamic range ({high}), which is not taken; convert it to BT.709")
        context.thread_type = "AUTO"
        yield container, video
