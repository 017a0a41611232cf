"""How frames are coded: the numbers that say so, pixels as a player shows them, and back."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

# Numbers of ITU-T H.273: matrices, of which players take the first two where none is named, by the height; the ranges.
BT709, BT601, UNKNOWN = 1, 6, 2
TALL = 720
FULL, LIMITED = 2, 1
# As FFmpeg's scaler numbers the matrices; 5 for all others.
SWSCALE = {1: 1, 4: 4, 7: 7, 9: 9, 10: 9}


@dataclass(frozen=True)
class Stamp:
    """What is kept of a frame besides its pixels: when it is shown, by how much it is to be turned, how it is coded.

    Matrix, range, primaries and transfer function are numbers of ITU-T H.273.
    """

    pts: int | None
    time_base: Fraction
    duration: int
    rotation: int
    matrix: int
    range: int
    primaries: int
    transfer: int

    @classmethod
    def of(cls, frame: "VideoFrame") -> "Stamp":
        """What a frame says, or where it does not, what players take it for."""
        rgb = frame.format.name.startswith(("rgb", "bgr", "gbr", "pal", "0", "a"))
        matrix = int(frame.colorspace)
        if rgb or matrix in (UNKNOWN, 0):
            matrix = BT709 if rgb or frame.height >= TALL else BT601
        full = frame.color_range == FULL or frame.format.name.startswith("yuvj")
        duration = frame.duration or 0
        time_base = frame.time_base or Fraction(1, 1)
        return cls(
            frame.pts, time_base, duration, frame.rotation, matrix, FULL if full else LIMITED,
            int(frame.color_primaries), int(frame.color_trc),
        )  # fmt: skip

    def pixels(self, frame: "VideoFrame") -> np.ndarray:
        """The frame `(h, w, 3)`, uint8 RGB of the full range, upright."""
        changed = frame.reformat(
            format="rgb24",
            src_colorspace=SWSCALE.get(self.matrix, 5),
            src_color_range=self.range,
            dst_color_range=FULL,
            interpolation=_careful(),
        )
        return np.ascontiguousarray(np.rot90(changed.to_ndarray(), round(self.rotation / 90)))


class Encoder:
    """Frames into a stream of a clip."""

    def __init__(self, writer: Any, codec: str, options: Mapping[str, str], video: Any) -> None:
        self._writer, self._video, self.begun = writer, video, False
        self._durations: dict[int | None, int] = {}  # which encoders do not pass on
        self._stream = writer.add_stream(codec, rate=rate_of(video), options=dict(options))
        self._stream.time_base = self._stream.codec_context.time_base = video.time_base

    def write(self, pixels: np.ndarray, stamp: Stamp) -> None:
        """Encode one frame as another was coded, to be shown when that is."""
        from av import VideoFrame

        if not self.begun:
            self._begin(pixels.shape[0], pixels.shape[1], stamp)
        context = self._stream.codec_context
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24").reformat(
            format="yuv444p",
            src_color_range=FULL,
            dst_color_range=context.color_range,
            dst_colorspace=SWSCALE.get(context.colorspace, 5),
            interpolation=_careful(),
        )
        if context.pix_fmt == "yuv420p":
            frame = VideoFrame.from_ndarray(_subsampled(frame.to_ndarray()), format="yuv420p")
        frame.pts, frame.time_base = stamp.pts, stamp.time_base
        self._durations[stamp.pts] = stamp.duration
        self._mux(self._stream.encode(frame))

    def _begin(self, height: int, width: int, stamp: Stamp) -> None:
        self.begun, context = True, self._stream.codec_context
        context.width, context.height = width, height
        # Half as many samples of colour need an even number of pixels.
        context.pix_fmt = "yuv444p" if width % 2 or height % 2 else "yuv420p"
        context.colorspace, context.color_range = stamp.matrix, stamp.range
        context.color_primaries, context.color_trc = stamp.primaries, stamp.transfer
        if shape := self._video.sample_aspect_ratio:
            context.sample_aspect_ratio = 1 / shape if stamp.rotation % 180 else shape

    def finish(self) -> None:
        """Encode what is left; the clip ends when the other does, whatever its last frame says of itself."""
        shown = [pts for pts in self._durations if pts is not None]
        if shown and self._video.duration:
            end = (self._video.start_time or 0) + self._video.duration
            self._durations[max(shown)] = max(end - max(shown), 1)
        self._mux(self._stream.encode(None))

    def _mux(self, packets: Iterable[Any]) -> None:
        for packet in packets:
            packet.duration = self._durations.pop(packet.pts, 0)
            self._writer.mux(packet)


def _subsampled(planes: np.ndarray) -> np.ndarray:
    """Planes of brightness and colour `(3, h, w)` -> those of yuv420p, one below the other, `(h + h / 2, w)`.

    Samples of colour lie in columns 0, 2, ... and between the rows, where players take them to be (H.264, annex E);
    FFmpeg's scaler puts them between the columns, by which colours would move with every generation.
    """
    luma, (height, width) = planes[0], planes.shape[1:]
    chroma = np.pad(planes[1:], ((0, 0), (0, 0), (1, 1)), mode="edge").astype(np.uint16)
    across = chroma[:, :, :-2:2] + 2 * chroma[:, :, 1:-1:2] + chroma[:, :, 2::2]
    down = (across[:, ::2] + across[:, 1::2] + 4) // 8
    return np.concatenate([luma, down.astype(np.uint8).reshape(height // 2, width)])


def rate_of(video: Any) -> Fraction:
    """Frames a second of a stream, on average."""
    return Fraction(video.average_rate or video.guessed_rate or 25)


def _careful() -> int:
    """How colour is scaled between a sample for each pixel and one for four: not by rounded shortcuts."""
    from av.video.reformatter import Interpolation

    return int(Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT)
