"""Im-Promptu's agents (Dedhia et al. 2023, section 4): shown pairs A, B and a picture C, they make its D.

They differ in what a picture is to them: one vector (`monolithic`), a grid of patches (`patch`) or a few slots that
bind to objects (`object-centric`). All are small and trained from nothing on drawn scenes.
"""

import json
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .. import strict
from ..editors.loading import FAILURES
from ..errors import EditorError, UsageError
from ..files import make_folder
from ..settings import check, override, setting
from ..text import first_line
from .discrete_vae import DiscreteVae
from .slots import SlotAttention

AGENTS = ("object-centric", "patch", "monolithic")
CONFIG, WEIGHTS = "config.json", "model.safetensors"


@dataclass(frozen=True, kw_only=True)
class AgentConfig:
    """The shape of an agent.

    Attributes:
        agent: one of `AGENTS`.
        side: pixels a side of a picture.
        patch: pixels a side of what becomes one code; of a monolithic agent nothing.
        codes: in the vocabulary; likewise.
        channels: of the discrete VAE's layers; likewise.
        width: of tokens, slots and vectors.
        heads: of attention; likewise.
        context_blocks, decoder_blocks: of the transformers; likewise.
        slots, iterations: of slot attention, of an object-centric agent.
        examples: the most pairs that it can be shown.
    """

    agent: str = "object-centric"
    side: int = setting(48, least=16, most=256)
    patch: int = setting(4, least=2, most=16)
    codes: int = setting(512, least=2, most=8192)
    channels: int = setting(64, least=1, most=1024)
    width: int = setting(96, least=1, most=1024)
    heads: int = setting(3, least=1, most=64)
    context_blocks: int = setting(3, least=1, most=24)
    decoder_blocks: int = setting(3, least=1, most=24)
    slots: int = setting(5, least=1, most=64)
    iterations: int = setting(3, least=1, most=16)
    examples: int = setting(2, least=1, most=16)

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        check(self)
        if self.agent not in AGENTS:
            raise UsageError(f"agent must be one of {', '.join(AGENTS)}, got {self.agent!r}")
        if self.patch & (self.patch - 1) or self.side % self.patch or self.side % 16 or self.width % self.heads:
            raise UsageError(
                "side must be divisible by 16 and by patch, patch be a power of two and width divisible by heads; got "
                f"side {self.side}, patch {self.patch}, width {self.width}, heads {self.heads}"
            )


def blocks(width: int, heads: int, count: int) -> nn.TransformerDecoder:
    """Blocks of self-attention, cross-attention and a perceptron, the norm before each, and one at the end."""
    layer = nn.TransformerDecoderLayer(width, heads, 4 * width, dropout=0, batch_first=True, norm_first=True)
    made = nn.TransformerDecoder(layer, count, nn.LayerNorm(width))
    for parameter in made.parameters():  # else all blocks start alike
        if parameter.ndim > 1:
            nn.init.xavier_uniform_(parameter)
    return made


class TokenAgent(nn.Module):
    """The object-centric agent and that of patches: tokens of a discrete VAE, cross-attention, one token at a time.

    The slots (or tokens) of C attend to those of all pairs and become a prompt, from which a causal transformer writes
    the tokens of D, row by row.
    """

    def __init__(self, config: AgentConfig) -> None:
        super().__init__()
        width = config.width
        self.config, self.length = config, (config.side // config.patch) ** 2
        self.vae = DiscreteVae(config.codes, config.patch, config.channels)
        self.dictionary = nn.Embedding(config.codes + 1, width)  # the first is what every picture begins with
        self.positions = nn.Parameter(nn.init.trunc_normal_(torch.empty(1 + self.length, width)))
        self.slots = SlotAttention(width, config.slots, config.iterations) if config.agent == AGENTS[0] else None
        self.of_query, self.of_context = (nn.Linear(width, width, bias=False) for _ in range(2))
        self.example = nn.Parameter(nn.init.trunc_normal_(torch.empty(config.examples, 1, 1, width)))
        self.segment = nn.Parameter(nn.init.trunc_normal_(torch.empty(2, 1, width)))
        self.context = blocks(width, config.heads, config.context_blocks)
        self.decoder = blocks(width, config.heads, config.decoder_blocks)
        self.out = nn.Linear(width, config.codes, bias=False)

    def embed(self, codes: Tensor) -> Tensor:
        """Codes `(b, n)` -> embeddings `(b, n + 1, width)`, that of the beginning before them."""
        begun = nn.functional.pad(codes + 1, (1, 0))
        return self.dictionary(begun) + self.positions[: begun.shape[1]]

    def represent(self, embedded: Tensor, generator: torch.Generator) -> Tensor:
        """`(b, n + 1, width)`, see `embed` -> what a picture is to this agent, `(b, k, width)`."""
        if self.slots is None:
            return embedded[:, 1:]
        shape = (len(embedded), self.slots.slots, embedded.shape[-1])
        noise = torch.randn(shape, generator=generator, device=generator.device)
        return self.slots(embedded[:, 1:], noise)

    def prompt(self, support: Tensor, query: Tensor) -> Tensor:
        """Represented pairs `(b, examples, 2, k, width)` and C `(b, k, width)` -> a prompt `(b, k, width)`."""
        context = self.of_context(support) + self.example[: support.shape[1]] + self.segment
        return self.context(self.of_query(query), context.flatten(1, 3))

    def logits(self, embedded: Tensor, prompt: Tensor) -> Tensor:
        """`(b, n, width)` of a beginning and the tokens after it -> `(b, n, codes)`: of the next one at each place."""
        mask = nn.Transformer.generate_square_subsequent_mask(embedded.shape[1], embedded.device, embedded.dtype)
        return self.out(self.decoder(embedded, prompt, tgt_mask=mask, tgt_is_causal=True))

    @torch.no_grad()
    def answer(self, support: Tensor, query: Tensor, generator: torch.Generator) -> Tensor:
        """See `Agent`; every token is the likeliest one."""
        b, examples = support.shape[:2]
        pictures = torch.cat([support.flatten(1, 2), query[:, None]], 1)
        codes = self.vae.encode(pictures.flatten(0, 1))
        found = self.represent(self.embed(codes), generator).unflatten(0, (b, -1))
        prompt = self.prompt(found[:, :-1].unflatten(1, (examples, 2)), found[:, -1])
        return self.vae.decode(self.write(prompt))

    def write(self, prompt: Tensor) -> Tensor:
        """`(b, k, width)` -> the likeliest codes one after another, `(b, n)`: the argmax of `logits` at every place.

        What the blocks have seen is kept: one token at a time goes through them.
        """
        made = torch.zeros(len(prompt), 0, dtype=torch.long, device=prompt.device)
        seen, norm = [prompt[:, :0] for _ in self.decoder.layers], typing.cast(nn.Module, self.decoder.norm)
        for _ in range(self.length):
            x = self.embed(made)[:, -1:]
            for index, layer in enumerate(self.decoder.layers):
                new = layer.norm1(x)
                seen[index] = torch.cat([seen[index], new], 1)
                x = x + layer.self_attn(new, seen[index], seen[index], need_weights=False)[0]
                x = x + layer.multihead_attn(layer.norm2(x), prompt, prompt, need_weights=False)[0]
                x = x + layer.linear2(layer.linear1(layer.norm3(x)).relu())
            likeliest = self.out(norm(x)).argmax(-1)
            made = torch.cat([made, likeliest], 1)
        return made


class MonolithicAgent(nn.Module):
    """A picture as one vector: convolutions, perceptrons on the mean over pairs, and convolutions back."""

    def __init__(self, config: AgentConfig) -> None:
        super().__init__()
        self.config, width = config, config.width
        start = config.side // 16
        halving = [nn.Conv2d(width if i else 3, width, 3, 2, 1) for i in range(4)]
        norms = [nn.GroupNorm(1, width) for _ in range(4)]
        down = [layer for pair in zip(halving, norms, strict=True) for layer in (*pair, nn.ReLU())]
        self.encoder = nn.Sequential(*down, nn.Flatten(), *_perceptron(width * start**2, width, 2))
        self.inference = nn.Sequential(*_perceptron(2 * width, width, 3))
        self.transformation = nn.Sequential(*_perceptron(2 * width, width, 3))
        doubling = [nn.ConvTranspose2d(width, width if i < 3 else 3, 3, 2, 1, output_padding=1) for i in range(4)]
        up = [layer for one in doubling[:3] for layer in (one, nn.ReLU())]
        vector = [nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width * start**2), nn.ReLU()]
        self.decoder = nn.Sequential(*vector, nn.Unflatten(1, (width, start, start)), *up, doubling[3])

    def forward(self, support: Tensor, query: Tensor) -> Tensor:
        """As `Agent.answer`, not kept within [0, 1]."""
        pairs = self.encoder(support.flatten(0, 2)).unflatten(0, support.shape[:3])
        context = self.inference(pairs.flatten(2)).mean(1)
        return self.decoder(self.transformation(torch.cat([context, self.encoder(query)], 1)))

    @torch.no_grad()
    def answer(self, support: Tensor, query: Tensor, generator: torch.Generator) -> Tensor:
        """See `Agent`; nothing is random."""
        return self(support, query).clamp(0, 1)


def _perceptron(inputs: int, width: int, layers: int) -> list[nn.Module]:
    made: list[nn.Module] = []
    for index in range(layers):
        made += [nn.ReLU()] if index else []
        made.append(nn.Linear(width if index else inputs, width))
    return made


# Both have `answer(support, query, generator)`: pairs `(b, examples, 2, 3, s, s)` and pictures `(b, 3, s, s)` in [0, 1]
# -> `(b, 3, s, s)` in [0, 1]. The generator starts slots off.
Agent = TokenAgent | MonolithicAgent


def build(config: AgentConfig) -> Agent:
    """An untrained agent."""
    return MonolithicAgent(config) if config.agent == "monolithic" else TokenAgent(config)


def save_agent(folder: Path, agent: Agent) -> None:
    """Write a model folder for `read_agent`, in half precision."""
    make_folder(folder)
    (folder / CONFIG).write_text(json.dumps(asdict(agent.config), indent=2) + "\n", encoding="utf-8")
    weights = {name: value.half().contiguous().cpu() for name, value in agent.state_dict().items()}
    save_file(weights, folder / WEIGHTS, {"format": "pt"})


def read_agent(folder: str, device: torch.device) -> Agent:
    """Read a model folder, for float32.

    Raises:
        EditorError: it is not there, or its weights are not those of the agent that its configuration names.
    """
    place = Path(folder)
    if not all((place / name).is_file() for name in (CONFIG, WEIGHTS)):
        raise EditorError(
            f"{folder}: no agent of Im-Promptu; expected a folder with {CONFIG} and {WEIGHTS}, as recipes.in_context "
            "trains it"
        )
    try:
        content: typing.Any = strict.loads((place / CONFIG).read_bytes())
        if not isinstance(content, dict):
            raise ValueError(f"{CONFIG} is no object")
        with torch.device("meta"):  # nothing is allocated for a configuration that the weights do not bear out
            agent = build(override(AgentConfig(), **content))
        weights = load_file(place / WEIGHTS)
        _check_shapes(agent, weights)
        agent.load_state_dict({name: value.float() for name, value in weights.items()}, assign=True)
    except (UsageError, SafetensorError, *FAILURES) as error:
        raise EditorError(f"{folder}: no agent of Im-Promptu that can be used ({first_line(error)})") from None
    return agent.eval().requires_grad_(False).to(device)


def _check_shapes(agent: Agent, weights: Mapping[str, Tensor]) -> None:
    """Raise ValueError with the first weight that is missing, of another shape, or not the agent's."""
    expected = {name: tuple(value.shape) for name, value in agent.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    for name in [*expected, *found]:
        if expected.get(name) != found.get(name):
            said, has = (shapes.get(name, "none") for shapes in (expected, found))
            raise ValueError(f"{WEIGHTS} is not of {CONFIG}'s shape: {name} should be {said}, and is {has}")
