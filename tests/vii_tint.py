"""An editor and a captioner as another package would offer them: its rows are what is added to red, green and blue."""

import torch

from vii.editor import Space
from vii.editors import EditorEntry
from vii.editors.toy import ToyEncoding, ToySettings
from vii.images import resize
from vii.instruction import Instruction


class Tint:
    name, resolution, num_timesteps, settings, phrases, joint = "tint", 32, 1000, ToySettings(), (), None
    device, space = torch.device("cpu"), Space("encoder_output", "tint", 3, 4, "tint", "tint-1")

    def encode(self, image):
        return ToyEncoding(resize(image, 32, 32)[None])

    def instruct(self, text, source=None):
        return Instruction(torch.zeros(4, 3), (1, 1))

    def loss(self, before, after, instruction, t, noise, guidance=None):
        error = before.pixels + instruction.rows.sum(0)[:, None, None] - after.pixels
        return error.square().mean((1, 2, 3)).expand(len(t))

    def edit(self, image, branches, settings, noise):
        shift = sum(weight * instruction.rows.sum(0) for instruction, weight in branches)
        return (image.pixels + settings.guidance_scale * shift[:, None, None]).clamp(0, 1)

    def num_branches(self, weights, settings):
        return len(weights)


ENTRY = EditorEntry(Tint, "adds one colour to the whole picture")


def caption(pairs, editor):
    """the word that every pair deserves"""
    return ["brighter"]
