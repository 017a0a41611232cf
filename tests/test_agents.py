"""Im-Promptu's agents: what each sees, that no token sees a later one, and model folders that are not what they say."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from vii.errors import EditorError, UsageError
from vii.methods.agents import AGENTS, AgentConfig, build, read_agent, save_agent

SMALL = {"side": 16, "codes": 12, "channels": 8, "width": 16, "heads": 2, "slots": 3}
CPU = torch.device("cpu")


def agent(kind, seed=0, **changes):
    torch.manual_seed(seed)
    made = build(AgentConfig(agent=kind, **(SMALL | {"context_blocks": 2, "decoder_blocks": 2} | changes))).eval()
    if kind != "monolithic":
        torch.nn.init.normal_(made.out.weight)  # else every token is the same
    return made


def analogy(b=2, examples=2, side=16):
    generator = torch.Generator().manual_seed(0)
    support = torch.rand(b, examples, 2, 3, side, side, generator=generator)
    return support, torch.rand(b, 3, side, side, generator=generator)


def answer(made, support, query, seed=0):
    return made.answer(support, query, torch.Generator().manual_seed(seed))


def test_a_later_token_changes_no_earlier_logit():
    made = agent("object-centric")
    codes = torch.randint(12, (1, 15))
    prompt = torch.randn(1, 3, 16)
    with torch.no_grad():
        before = made.logits(made.embed(codes), prompt)
        for place in (0, 7, 14):
            changed = codes.clone()
            changed[0, place] = (codes[0, place] + 5) % 12
            after = made.logits(made.embed(changed), prompt)
            differs = (after - before).abs().amax((0, 2)) > 1e-6
            # Position 0 is the beginning: token `place` is first seen one further on.
            assert not differs[: place + 1].any()
            assert differs[place + 1 :].all()


@pytest.mark.parametrize("kind", AGENTS[:2])
def test_tokens_are_written_by_argmax_of_the_whole_pass(kind):
    made = agent(kind, examples=2)
    prompt = torch.randn(2, 3, 16, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        written = made.write(prompt)
        assert written.shape == (2, 16)
        logits = made.logits(made.embed(written[:, :-1]), prompt)
    assert torch.equal(logits.argmax(-1), written)
    assert len(written.unique()) > 2


def test_a_prompt_is_made_of_all_pairs_and_the_picture():
    made = agent("patch")
    support, query = torch.randn(1, 2, 2, 16, 16), torch.randn(1, 16, 16)
    with torch.no_grad():
        whole = made.prompt(support, query)
        for place in ((0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1)):
            changed = support.clone()
            changed[place] += 1
            assert (made.prompt(changed, query) - whole).abs().max() > 1e-4
        swapped = made.prompt(support.flip(2), query)  # B:A is another change than A:B
        assert (swapped - whole).abs().max() > 1e-4
        assert made.prompt(support[:, :1], query).shape == whole.shape


@pytest.mark.parametrize("kind", AGENTS)
def test_answers_repeat_and_only_slots_have_a_seed(kind):
    made, (support, query) = agent(kind), analogy()
    first = answer(made, support, query)
    assert first.shape == query.shape
    assert 0 <= first.min() <= first.max() <= 1
    assert torch.equal(answer(made, support, query), first)
    alone = answer(made, support[1:], query[1:])
    if kind != "object-centric":  # whose noise is drawn for the whole batch
        torch.testing.assert_close(alone, first[1:])
        assert torch.equal(answer(made, support, query, seed=1), first)
    else:
        embedded = made.embed(made.vae.encode(query))
        found = [made.represent(embedded, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
        assert torch.equal(found[0], found[1])
        assert not torch.equal(found[0], found[2])


def test_the_monolithic_agent_is_its_formula():
    """Mean over pairs of what is inferred of both vectors; that and the vector of C are transformed and decoded."""
    made, (support, query) = agent("monolithic"), analogy(b=1)
    with torch.no_grad():
        pairs = [torch.cat([made.encoder(pair[:1]), made.encoder(pair[1:])], 1) for pair in support[0]]
        context = sum(made.inference(pair) for pair in pairs) / 2
        expected = made.decoder(made.transformation(torch.cat([context, made.encoder(query)], 1)))
        torch.testing.assert_close(made(support, query), expected)


@pytest.mark.parametrize("kind", AGENTS)
def test_a_folder_gives_the_agent_back(kind, tmp_path):
    made = agent(kind)
    for parameter in made.parameters():
        parameter.data = parameter.data.half().float()
    save_agent(tmp_path, made)
    again = read_agent(str(tmp_path), CPU)
    assert again.config == made.config
    support, query = analogy()
    assert torch.equal(answer(again, support, query), answer(made, support, query))
    assert not any(parameter.requires_grad for parameter in again.parameters())


@pytest.fixture
def folder(tmp_path):
    save_agent(tmp_path / "model", agent("object-centric"))
    return tmp_path / "model"


def test_a_folder_that_is_not_what_it_says_is_refused_in_one_line(folder, tmp_path):
    config = json.loads((folder / "config.json").read_text())

    def refused(message, **changes):
        (folder / "config.json").write_text(json.dumps(config | changes))
        with pytest.raises(EditorError, match=message) as error:
            read_agent(str(folder), CPU)
        assert "\n" not in str(error.value)

    refused(r"not of config.json's shape: positions should be \(65, 16\), and is \(17, 16\)", side=32)
    refused("shape: encoder.0.weight should be", agent="monolithic")
    refused(r"slots\.\S* should be none", agent="patch")
    refused("agent must be one of object-centric, patch, monolithic, got 'pixels'", agent="pixels")
    refused("width must be from 1 to 1024", width=10**6)
    refused("colour", colour=3)
    refused("divisible", heads=3)
    (folder / "config.json").write_text("[1]")
    with pytest.raises(EditorError, match=r"config.json is no object"):
        read_agent(str(folder), CPU)
    (folder / "config.json").write_text(json.dumps(config))
    weights = load_file(folder / "model.safetensors")
    save_file(weights | {"more": torch.zeros(1)}, folder / "model.safetensors")
    refused(r"more should be none, and is \(1,\)")
    (folder / "model.safetensors").write_bytes(b"no weights")
    refused("no agent of Im-Promptu that can be used")
    shutil.rmtree(folder)
    with pytest.raises(EditorError, match="expected a folder with config"):
        read_agent(str(folder), CPU)


def test_configurations_that_cannot_be():
    for changes in ({"patch": 3}, {"side": 40}, {"width": 10, "heads": 3}):
        with pytest.raises(UsageError, match="must be divisible by"):
            AgentConfig(**changes)
