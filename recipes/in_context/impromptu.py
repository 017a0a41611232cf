"""Im-Promptu's agents: a discrete VAE of drawn scenes, then the agent on analogies, drawn as they are needed.

Dedhia et al. 2023, section 4 and appendix. The discrete VAE is trained alone and then kept, where the paper goes on
training both; codes are the likeliest ones throughout.
"""

import dataclasses
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recipes.embedded_model.loop import Trainee, adamw, fast, train
from vii.methods.agents import Agent, AgentConfig, MonolithicAgent, TokenAgent, build
from vii.methods.discrete_vae import DiscreteVae, gumbel_softmax

from .codes import clusters, patches_of
from .config import Config
from .scenes import KINDS, analogies, draw, hops

REPORTED = 24  # analogies of each kind


def shape_of(agent: str, config: Config) -> AgentConfig:
    """An agent's configuration; a patch is to contain as much of an object as it can."""
    shape = dataclasses.replace(config.impromptu.shape, agent=agent)
    return dataclasses.replace(shape, patch=2 * shape.patch) if agent == "patch" else shape


def train_vae(shape: AgentConfig, config: Config, folder: Path) -> DiscreteVae:
    """Train the discrete VAE on scenes, by their mean squared error.

    Trained so from random weights, nearly all patches go to a dozen codes for the first thousands of steps. It is
    therefore first told which: those of the nearest of as many clusters of patches.
    """
    settings, device = config.impromptu.vae, torch.device(config.device)
    torch.manual_seed(config.seed)
    vae = DiscreteVae(shape.codes, shape.patch, shape.channels).to(device, memory_format=torch.channels_last)
    trainee = Trainee(vae, adamw(vae, settings.lr, 1e-4), average=settings.average)
    steps = settings.steps

    def pictures(count: int, generator: torch.Generator) -> Tensor:
        return draw(analogies(hops(count, 1, generator), 0, generator).before, shape.side)[:, 0]

    start = torch.Generator(device).manual_seed(config.seed)
    sample = patches_of(pictures(settings.clustered, start), shape.patch).flatten(0, 1)
    centres = clusters(sample, shape.codes, start)

    def losses(generator: torch.Generator) -> dict[str, Tensor]:
        seen = pictures(settings.batch, generator).contiguous(memory_format=torch.channels_last)
        with fast(device):
            logits = vae.encoder(seen)
        logits = logits.float()
        if trainee.progress(steps, settings.minutes) < settings.told:
            nearest = torch.cdist(patches_of(seen, shape.patch), centres).argmin(-1).unflatten(1, logits.shape[2:])
            chosen = F.one_hot(nearest, shape.codes).permute(0, 3, 1, 2).float()
            own = F.cross_entropy(logits, nearest)
        else:
            chosen = gumbel_softmax(logits, settings.temperature, generator)
            own = logits.new_zeros(())
        with fast(device):
            made = vae.decoder(chosen)
        error = (made.float() - seen).square().mean()
        return {"loss": error + own, "error": error.detach()}

    @torch.no_grad()
    def report() -> str:
        seen = pictures(128, torch.Generator(device).manual_seed(9))
        codes = vae.encode(seen)
        error, plain = (one.square().mean() for one in (vae.decode(codes) - seen, seen - seen.mean((2, 3), True)))
        return (
            f"unseen scenes: error {float(error):.5f} with {len(codes.unique())} codes; "
            f"of their mean colour {float(plain):.5f}"
        )

    train(
        trainee,
        losses,
        steps,
        folder / f"vae-{shape.patch}.pt",
        config,
        stage=41,
        minutes=settings.minutes,
        report=report,
        report_every=1000,
    )
    return vae.eval().requires_grad_(False)


class Mixture(nn.Module):
    """A picture's codes from its slots, each place by itself, for training only: the slots share it out.

    Every slot says of every place which code it has and how much of it is its own (the decoder of Seitzer et al. 2023,
    section 3). It gives the slots an error of their own beside that of the agent's answers.
    """

    def __init__(self, shape: AgentConfig) -> None:
        super().__init__()
        width, length = shape.width, (shape.side // shape.patch) ** 2
        self.positions = nn.Parameter(nn.init.trunc_normal_(torch.empty(length, width)))
        layers = [nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, 2 * width), nn.ReLU()]
        self.tell = nn.Sequential(*layers, nn.Linear(2 * width, width + 1))
        self.out = nn.Linear(width, shape.codes)

    def forward(self, slots: Tensor) -> Tensor:
        """`(b, k, width)` -> logits `(b, n, codes)`."""
        said, own = self.tell(slots[:, :, None] + self.positions).tensor_split([slots.shape[-1]], -1)
        return self.out((said * own.softmax(1)).sum(1))


def left_out(codes: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Which codes of `(b, n)` are not told: in `share` of the rows a random share of them, else none."""
    device = codes.device
    rows = torch.rand(len(codes), 1, generator=generator, device=device) < share
    rates = torch.rand(len(codes), 1, generator=generator, device=device)
    return rows & (torch.rand(codes.shape, generator=generator, device=device) < rates)


def token_loss(
    agent: TokenAgent,
    support: Tensor,
    query: Tensor,
    generator: torch.Generator,
    untold: float = 0.0,
    mixture: Mixture | None = None,
) -> dict[str, Tensor]:
    """Mean cross-entropy of D's codes, each told those before it (section 4.2).

    Args:
        agent: whose discrete VAE is kept.
        support: `(b, examples, 2, 3, s, s)`.
        query: `(b, 2, 3, s, s)`, C and D.
        generator: of the slots' first values, and of which codes are left out.
        untold: see `ImPromptu`.
        mixture: tells the pictures that are shown from their slots.

    Returns:
        `loss`, and `right`, the share of D's codes that is likeliest; with a mixture the loss is that of the `answer`
        plus that of the `slots`.
    """
    b, examples = support.shape[:2]
    pictures = torch.cat([support, query[:, None]], 1)
    with torch.no_grad():  # as precisely as at use: codes are close calls
        codes = agent.vae.encode(pictures.flatten(0, 2)).unflatten(0, (b, -1))
    truth, embedded = codes[:, -1], agent.embed(codes.flatten(0, 1)).unflatten(0, (b, -1))
    # What a picture begins with stands for a code that is left out; the beginning itself stays.
    blank = F.pad(left_out(truth[:, :-1], untold, generator), (1, 0))[..., None]
    told = torch.where(blank, agent.dictionary.weight[0] + agent.positions[:-1], embedded[:, -1, :-1])
    # D itself is not shown.
    found = agent.represent(embedded[:, :-1].flatten(0, 1), generator)
    slots = found.unflatten(0, (b, -1))
    with fast(pictures.device):
        prompt = agent.prompt(slots[:, :-1].unflatten(1, (examples, 2)), slots[:, -1])
        logits = agent.logits(told, prompt)
    answer = F.cross_entropy(logits.float().flatten(0, 1), truth.flatten())
    terms = {"loss": answer, "right": (logits.argmax(-1) == truth).float().mean()}
    if mixture is not None:
        with fast(pictures.device):
            said = mixture(found)
        own = F.cross_entropy(said.float().flatten(0, 1), codes[:, :-1].flatten())
        terms |= {"loss": answer + own, "answer": answer.detach(), "slots": own.detach()}
    return terms


def train_agent(shape: AgentConfig, config: Config, folder: Path) -> Agent:
    """Train an agent on analogies in which one attribute changes; returns it with its averaged weights."""
    settings, device = config.impromptu, torch.device(config.device)
    torch.manual_seed(config.seed)
    agent = build(shape)
    if isinstance(agent, TokenAgent):
        agent.vae = train_vae(shape, config, folder).cpu()
    agent = agent.to(device)
    mixture = None
    if isinstance(agent, TokenAgent) and agent.slots is not None:
        mixture = Mixture(shape).to(device)
    networks = nn.ModuleList([agent] if mixture is None else [agent, mixture])
    trainee = Trainee(networks, adamw(networks, settings.lr), average=settings.average)

    def losses(generator: torch.Generator) -> dict[str, Tensor]:
        # As many pairs as the number of the step says: a number drawn on a GPU would have to be waited for.
        examples = 1 + trainee.step % shape.examples
        changed = hops(settings.batch, 1, generator)
        support, query = analogies(changed, examples, generator).pictures(shape.side)
        if isinstance(agent, MonolithicAgent):
            with fast(device):
                made = agent(support, query[:, 0])
            return {"loss": (made.float() - query[:, 1]).square().mean()}
        return token_loss(agent, support, query, generator, settings.untold, mixture)

    train(
        trainee,
        losses,
        settings.steps,
        folder / f"{shape.agent}.pt",
        config,
        stage=42,
        minutes=settings.minutes,
        report=lambda: report(agent, device),
        report_every=1000,
    )
    return agent.eval().requires_grad_(False)


@torch.no_grad()
def report(agent: Agent, device: torch.device) -> str:
    """Squared errors of answers, summed over a picture, on analogies that nothing was trained on."""
    told = []
    for name, kinds in (
        ("primitive", [kind for kind in KINDS.values() if kind.hops == 1 and not kind.unseen]),
        ("unseen objects", [kind for kind in KINDS.values() if kind.unseen]),
        ("composite of 2", [kind for kind in KINDS.values() if kind.hops == 2]),
    ):
        generator = torch.Generator(device).manual_seed(11)
        errors = []
        for kind in kinds:
            support, query = kind.draw(REPORTED // len(kinds), 1, generator).pictures(agent.config.side)
            made = agent.answer(support, query[:, 0], torch.Generator(device).manual_seed(0))
            delta = (query[:, 0] + support[:, 0, 1] - support[:, 0, 0]).clamp(0, 1)
            errors.append([float(summed(answer, query[:, 1])) for answer in (made, delta, query[:, 0])])
        own, delta, still = torch.tensor(errors).mean(0).tolist()
        told.append(f"{name} {own:.1f} (pixel delta {delta:.1f}, no edit {still:.1f})")
    return "errors a picture: " + ", ".join(told)


def summed(answers: Tensor, truths: Tensor) -> Tensor:
    """The paper's measure: squared error summed over a picture, the mean over `(b, 3, h, w)`."""
    return (answers - truths).square().flatten(1).sum(1).mean()
