"""The throughput benchmark: that its networks do the work of its photos."""

from conftest import picture

from vii.evaluation.throughput import Throughput, table, throughputs


def test_every_way_does_the_same_passes_of_the_networks(embedded, monkeypatch):
    seen, forward = [], embedded.parts.unet.forward

    def counted(x, *rest, **named):
        seen.append(tuple(x.shape))
        return forward(x, *rest, **named)

    monkeypatch.setattr(embedded.parts.unet, "forward", counted)
    found = throughputs(embedded, [picture(seed, 64, 96) for seed in range(3)], batch=2, rounds=1)
    assert found[0].name == "bare UNet and autoencoder"
    shape = seen[0][1:]
    round_ = [(2, *shape), (2, *shape), (2, *shape), (1, *shape), (1, *shape)]
    assert seen == round_ * 2
    assert all(one.seconds > 0 and (one.batch, one.passes) == (2, 1) for one in found)


def test_shares_are_of_the_first_row():
    text = table([Throughput("bare", 8, 1, 0.1), Throughput("ours", 8, 1, 0.125)])
    assert "| ours | 8 | 1 | 8.00 | 0.80 |" in text
