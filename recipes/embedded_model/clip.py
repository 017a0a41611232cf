"""The CLIP: instructions lie where the change of a picture does, captions where the picture does.

Both towers are stock `CLIPModel`. Instructions are contrasted with `E(after) - E(before)`, captions with `E(after)`.
Heads that are thrown away afterwards read the edit's parameters from either side, so that the text states tell
colours, places and strengths apart before the UNet ever sees them.
"""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

from .config import Clip, Config
from .data import SIZE, Pairs
from .loop import Trainee, fast, train
from .targets import Targets, kind_of

VALIDATION = 600  # pairs at the end, left out of training
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def make_tokenizer(pairs: Pairs, settings: Clip, seed: int) -> CLIPTokenizer:
    """A byte-pair encoding of the instructions and captions, as CLIP's tokenizer class wants it."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    rng = np.random.default_rng(seed)

    def corpus() -> Iterator[str]:
        for i in range(0, len(pairs), max(1, len(pairs) // 20_000)):
            yield pairs.texts[i][0]
            yield pairs.edit[i].caption(pairs.subjects[i // pairs.edits], rng)

    stock = CLIPTokenizer().backend_tokenizer
    trained = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    trained.normalizer, trained.pre_tokenizer = stock.normalizer, stock.pre_tokenizer
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocabulary, end_of_word_suffix="</w>", initial_alphabet=alphabet, show_progress=False
    )
    trained.train_from_iterator(corpus(), trainer)
    merges = [tuple(merge) for merge in json.loads(trained.to_str())["model"]["merges"]]
    # The trainer numbers single letters in the order of a hash, and leaves out those that no instruction holds;
    # whatever somebody types must have tokens.
    letters = [*alphabet, *(letter + "</w>" for letter in alphabet)]
    tokens = [*letters, *("".join(merge) for merge in merges), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=settings.positions)


def tokenize(tokenizer: CLIPTokenizer, texts: list[str], *, full: bool = False) -> Tensor:
    """Token ids `(n, positions)`, or no longer than the longest text needs where not `full`."""
    padding = "max_length" if full else "longest"
    return tokenizer(texts, padding=padding, truncation=True, return_tensors="pt").input_ids


def build(tokenizer: CLIPTokenizer, settings: Clip) -> CLIPModel:
    """An untrained model."""
    tower = {
        "hidden_size": settings.width,
        "num_hidden_layers": settings.layers,
        "num_attention_heads": 4,
        "projection_dim": settings.width,
    }
    text = {
        "vocab_size": len(tokenizer),
        "intermediate_size": 2 * settings.width,
        "max_position_embeddings": settings.positions,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {"intermediate_size": 5 * settings.width // 2, "image_size": SIZE, "patch_size": 16}
    return CLIPModel(
        CLIPConfig(
            text_config=tower | text,
            vision_config=tower | vision,
            projection_dim=settings.width,
            logit_scale_init_value=math.log(10),
        )
    )


def processor() -> CLIPImageProcessor:
    """How pictures are prepared for the image tower."""
    size = {"height": SIZE, "width": SIZE}
    return CLIPImageProcessor(size={"shortest_edge": SIZE}, crop_size=size, image_mean=list(MEAN), image_std=list(STD))


def _contrast(logits: Tensor, kinds: Tensor) -> Tensor:
    """Symmetric cross-entropy; pairs of one kind are not held against each other."""
    same = (kinds[:, None] == kinds[None]).float()
    same = same / same.sum(1, keepdim=True)
    return -0.5 * ((same * logits.log_softmax(1)).sum(1) + (same * logits.T.log_softmax(1)).sum(1)).mean()


class _Training(nn.Module):
    def __init__(self, model: CLIPModel, width: int, targets: int) -> None:
        super().__init__()
        self.model = model
        self.from_text, self.from_change = nn.Linear(width, targets), nn.Linear(width, targets)


@dataclass(frozen=True)
class Spoken:
    """What is said of the pairs, computed once, on the device that trains.

    Attributes:
        instructions: `(pairs, phrasings, length)`, token ids of ways of asking for the edit.
        captions: `(pairs, phrasings, length)`, of what its result shows.
        wanted: `(pairs, n)`, see `Targets.of`.
        weights: likewise.
        kinds: `(pairs,)`, a number for what `kind_of` calls the same edit.
    """

    instructions: Tensor
    captions: Tensor
    wanted: Tensor
    weights: Tensor
    kinds: Tensor

    @classmethod
    def of(cls, pairs: Pairs, tokenizer: CLIPTokenizer, targets: Targets, config: Config) -> "Spoken":
        """Draw the captions, and put everything into numbers."""
        rng, phrasings = np.random.default_rng(config.seed + 1), range(config.data.phrasings)
        shown = [
            [edit.caption(pairs.subjects[i // pairs.edits], rng) for _ in phrasings]
            for i, edit in enumerate(pairs.edit)
        ]
        numbers: dict[str, int] = {}
        kinds = torch.tensor([numbers.setdefault(kind_of(edit), len(numbers)) for edit in pairs.edit])
        print(f"CLIP: {len(tokenizer)} tokens, {len(numbers)} kinds of edit, {len(targets)} targets", flush=True)
        wanted, weights = (torch.stack(rows) for rows in zip(*map(targets.of, pairs.edit), strict=True))
        parts = (_ids(tokenizer, pairs.texts), _ids(tokenizer, shown), wanted.half(), weights.half(), kinds)
        return cls(*(part.to(config.device) for part in parts))


def _ids(tokenizer: CLIPTokenizer, texts: Sequence[Sequence[str]]) -> Tensor:
    """Token ids `(n, phrasings, length)`."""
    rows: dict[str, int] = {}
    said = torch.tensor([[rows.setdefault(text, len(rows)) for text in line] for line in texts])
    return tokenize(tokenizer, list(rows), full=True).short()[said]


def _read_texts(nets: _Training, spoken: Spoken, config: Config, folder: Path) -> None:
    """Teach the text tower to tell instructions apart, before it sees a picture.

    The contrast alone settles for what is easily seen, colours and looks, and leaves *left* and *right* with the same
    states, which nothing behind the tower can undo (LOG.md).
    """
    settings = config.clip
    trained = nn.ModuleList([nets.model.text_model, nets.model.text_projection, nets.from_text])
    optimizer = torch.optim.AdamW(trained.parameters(), lr=settings.lr, betas=(0.9, 0.98), weight_decay=0.02)

    def losses(generator: torch.Generator) -> dict[str, Tensor]:
        chosen = _random(len(spoken.kinds), settings.text_batch, generator)
        ids = spoken.instructions[chosen, _random(spoken.instructions.shape[1], len(chosen), generator)].long()
        with fast(ids.device):
            texts = functional.normalize(embed_texts(nets.model, ids).float(), dim=-1)
        return {"loss": _misread(nets.from_text, texts, spoken.wanted[chosen], spoken.weights[chosen])}

    steps = settings.texts // settings.text_batch
    train(
        Trainee(trained, optimizer), losses, steps, folder / "texts.pt", config, stage=4, minutes=settings.text_minutes
    )


def _random(high: int, count: int, generator: torch.Generator) -> Tensor:
    return torch.randint(high, (count,), generator=generator, device=generator.device)


def _misread(head: nn.Module, seen: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
    """Errors of heads count equally whatever they read; 8 makes up for the length 1 of what they read it from."""
    return (head(8 * seen) - wanted).square().mul(weights).sum() / weights.sum()


def train_clip(pairs: Pairs, config: Config, folder: Path) -> tuple[CLIPModel, CLIPTokenizer]:
    """Train the text tower on instructions alone, then both towers; the last pairs are only reported on."""
    settings = config.clip
    if not (folder / "tokenizer").exists():
        make_tokenizer(pairs, settings, config.seed).save_pretrained(folder / "tokenizer")
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    torch.manual_seed(config.seed)
    targets = Targets()
    nets = _Training(build(tokenizer, settings), settings.width, len(targets)).to(config.device)
    spoken = Spoken.of(pairs, tokenizer, targets, config)
    if not (folder / "clip.pt").exists():
        _read_texts(nets, spoken, config, folder)
    optimizer = torch.optim.AdamW(nets.parameters(), lr=settings.lr, betas=(0.9, 0.98), weight_decay=0.02)
    trainee = Trainee(nets, optimizer, average=0.99)
    shown = [torch.from_numpy(pictures).to(config.device) for pictures in (pairs.before, pairs.after)]
    mean, std = (torch.tensor(values, device=config.device).view(3, 1, 1) for values in (MEAN, STD))

    def terms(chosen: Tensor, phrasing: Tensor) -> dict[str, Tensor]:
        ids = torch.cat([spoken.instructions[chosen, phrasing], spoken.captions[chosen, phrasing]]).long()
        pictures = torch.cat([shown[0][chosen // pairs.edits], shown[1][chosen]]).movedim(-1, -3).float() / 255
        with fast(pictures.device):
            seen = nets.model.vision_model(pixel_values=(pictures - mean) / std).pooler_output
            images = nets.model.visual_projection(seen).float()
            texts = embed_texts(nets.model, ids).float()
        before, after = functional.normalize(images, dim=-1).chunk(2)
        instruction, caption = functional.normalize(texts, dim=-1).chunk(2)
        change = functional.normalize(after - before + 1e-6, dim=-1)
        scale = nets.model.logit_scale.exp().clamp(max=60)
        kind, wanted, weight = (rows[chosen] for rows in (spoken.kinds, spoken.wanted, spoken.weights))
        logits = scale * instruction @ change.T
        heads = [
            _misread(nets.from_text, instruction, wanted, weight),
            _misread(nets.from_change, change, wanted, weight),
        ]
        result = {
            "instruction": _contrast(logits, kind),
            "caption": _contrast(scale * caption @ after.T, kind),
            "text_head": heads[0],
            "change_head": heads[1],
            "right": (kind[logits.argmax(1)] == kind).float().mean(),
        }
        loss = result["instruction"] + 0.2 * result["caption"] + 5 * (heads[0] + heads[1])
        return {"loss": loss, **{name: term.detach() for name, term in result.items()}}

    known = len(pairs) - VALIDATION

    def losses(generator: torch.Generator) -> dict[str, Tensor]:
        chosen = torch.randperm(known, generator=generator, device=generator.device)[: settings.batch]
        return terms(chosen, _random(spoken.captions.shape[1], len(chosen), generator))

    @torch.no_grad()
    def report() -> str:
        nets.eval()
        unseen = torch.arange(known, len(pairs), device=config.device).chunk(max(1, VALIDATION // 120))
        batches = [terms(chosen, torch.zeros_like(chosen)) for chosen in unseen]
        nets.train()
        return "unseen pairs: " + " ".join(f"{k} {np.mean([float(b[k]) for b in batches]):.3f}" for k in batches[0])

    steps = settings.pairs // settings.batch
    train(
        trainee, losses, steps, folder / "clip.pt", config, stage=2, minutes=settings.minutes, every=25,
        report=report, report_every=100,
    )  # fmt: skip
    return nets.model.eval().requires_grad_(False), tokenizer


def embed_texts(model: CLIPModel, ids: Tensor) -> Tensor:
    """Token ids `(n, length)` -> `(n, width)` in the joint space."""
    return model.text_projection(model.text_model(input_ids=ids).pooler_output)


@torch.no_grad()
def text_states(model: CLIPModel, tokenizer: CLIPTokenizer, texts: Iterable[str], device: str) -> Tensor:
    """What the UNet reads: `(n, positions, width)` half precision, on the device that the model is on."""
    texts, states = list(texts), []
    for start in range(0, len(texts), 256):
        ids = tokenize(tokenizer, texts[start : start + 256], full=True).to(device)
        states.append(model.text_model(input_ids=ids).last_hidden_state.half())
    return torch.cat(states)
