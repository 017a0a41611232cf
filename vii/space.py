"""The identity of an instruction space: whose instructions the rows of an edit are. Nothing here needs torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field

ENCODER_OUTPUT, INPUT_EMBEDDING = "encoder_output", "input_embedding"
# Of an editor whose text encoder sees the photo.
ENCODER_OUTPUT_OFFSET = "encoder_output_offset"
# What an editor with a text encoder can be asked for -> kind of its instruction space.
SPACES: Mapping[str, str] = {"output": ENCODER_OUTPUT, "input": INPUT_EMBEDDING}
# Of the digests in a fingerprint, the finest first; see `vii.editors.fingerprint`.
DIGESTS = ("float16", "bfloat16", "sign")


@dataclass(frozen=True)
class Space:
    """Identity of an instruction space; written into edit files and checked when they are used.

    Attributes:
        kind: where the learned rows live: `encoder_output`, what the networks read; `encoder_output_offset`, what is
            added to the rows of the words, which are other rows for every photo; or `input_embedding`, what the text
            encoder reads in place of its table of tokens, without position embeddings.
        encoder: class of the text encoder.
        width: d, features of a row.
        length: n, rows of an instruction.
        model: id or folder name of the base model.
        fingerprint: of the model's weights, see `vii.editors.fingerprint`; compare it with `has_weights_of`.
        revision: of the model on a hub, where there is one.
        version_1: of an editor's space, the fingerprints by which edit files of format version 1 call its weights.
        relatives: of an editor's space, names of other models whose edits it takes too: a model that is learned on, and
            the one that was distilled from it to be applied with.
    """

    kind: str
    encoder: str
    width: int
    length: int
    model: str
    fingerprint: str
    revision: str = ""
    version_1: tuple[str, ...] = field(default=(), compare=False, repr=False)
    relatives: tuple[str, ...] = field(default=(), compare=False, repr=False)

    def has_weights_of(self, other: "Space") -> bool:
        """Whether two spaces are of the same weights, in whatever precision each was saved."""
        return (
            same_weights(self.fingerprint, other.fingerprint)
            or self.fingerprint in other.version_1
            or other.fingerprint in self.version_1
        )

    def is_related_to(self, other: "Space") -> bool:
        """Whether this editor takes the edits of a space of other weights: its tokens then, not its settings."""
        return other.model in self.relatives and not self.has_weights_of(other)


# Of an edit that needs no editor.
NO_SPACE = Space("", "", 0, 0, "", "")


def same_weights(first: str, second: str) -> bool:
    """Whether two fingerprints are of the same weights: the finest precision that both know decides."""
    if first == second:
        return True
    known, others = digests(first), digests(second)
    finest = next((name for name in DIGESTS if name in known and name in others), None)
    return finest is not None and known[finest] == others[finest]


def digests(fingerprint: str) -> dict[str, str]:
    """`"float16:H bfloat16:B sign:S"` -> its parts by name; empty for a fingerprint of another form."""
    parts = [part.partition(":") for part in fingerprint.split()]
    return {name: digest for name, colon, digest in parts if name in DIGESTS and digest}
