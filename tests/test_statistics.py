"""What the benchmark concludes from its scores."""

import itertools
import json
import re

import pytest

from vii.evaluation.report import benchmark_tables
from vii.evaluation.scores import Point, Score
from vii.evaluation.statistics import conclusions, holm, mean_of


def score(edit, method, seed, psnr, explained=None, said=False):
    return Score(edit, method, seed, {"psnr": psnr, "ssim": 0.5, "explained": explained}, describable=said)


def test_means_are_over_edits_and_their_spread_is_over_seeds():
    scores = [score("a", "m", 0, 10.0), score("b", "m", 0, 20.0), score("a", "m", 1, 14.0), score("b", "m", 1, 20.0)]
    mean = mean_of(scores, "psnr")
    assert (mean.mean, mean.edits) == (16.0, 2)
    assert mean.spread == pytest.approx(2**0.5)  # of 15 and 17
    assert mean_of(scores[:2], "psnr").spread is None
    assert mean_of(scores, "direction") is None


def ranks(values):
    return [sorted(values).index(value) for value in values]


def test_the_report_compares_edit_by_edit_and_correlates_ranks():
    gains = {"a": 1.0, "b": 4.0, "c": 2.5, "d": -1.0}
    explained = {"a": 0.2, "b": 0.5, "c": 0.6, "d": 0.1}
    scores = [score(edit, "no edit", seed, 10.0, said=edit in "ab") for edit in gains for seed in (0, 1)]
    scores += [score(edit, "true words", 0, 12.0, said=edit in "ab") for edit in "abc"]
    scores += [
        score(edit, "default", seed, 10 + gains[edit] + (seed - 0.5), explained[edit], said=edit in "ab")
        for edit in gains
        for seed in (0, 1)
    ]
    found = conclusions(scores)
    assert found["compared"] == "default"
    unedited = found["against"]["no edit"]
    assert (unedited["edits"], unedited["at_least_as_good"]) == (4, 3)
    assert unedited["db_better"] == {"describable": 2.5, "indescribable": 0.75, "all": 1.625}
    words = found["against"]["true words"]
    assert (words["edits"], words["at_least_as_good"]) == (3, 2)
    assert words["db_better"] == {"describable": 0.5, "indescribable": 0.5, "all": 0.5}
    differences = zip(ranks(list(gains.values())), ranks(list(explained.values())), strict=True)
    expected = 1 - 6 * sum((x - y) ** 2 for x, y in differences) / (4 * (4**2 - 1))
    assert found["explained"]["default"]["rank_correlation"] == pytest.approx(expected)
    assert found["explained"]["default"]["n"] == 4
    assert set(found["explained"]) == {"default"}
    json.dumps(found)
    few = conclusions([s for s in scores if s.task in "ab"])
    assert few["explained"]["default"] == {"rank_correlation": None, "p": None, "n": 2}
    text = "\n\n".join(table.markdown() for table in benchmark_tables(scores))
    assert re.search(r"\| no edit +\| +3 of 4 \(75%\) \| +\+2.50 \| +\+0.75 \| +\+1.62 \|", text)
    assert re.search(r"\| mean, all +\| 10.00 ± 0.00 \| +12.00 \| 11.62 ± 0.71 \|", text)


def learned(method, edit, *curve):
    points = tuple(Point(seconds, 10 * index, psnr) for index, (seconds, psnr) in enumerate(curve))
    seconds, psnr = curve[-1]
    return Score(edit, method, 0, {"psnr": psnr, "ssim": 0.5, "learn_seconds": seconds}, curve=points)


def test_how_soon_a_recipe_is_as_good_as_another_when_it_has_finished():
    scores = [learned("slow", "a", (1, 5.0), (40, 20.0)), learned("slow", "b", (1, 5.0), (60, 22.0))]
    scores += [
        learned("fast", "a", (1, 10.0), (2, 21.0), (3, 20.0), (4, 23.0)),
        learned("fast", "b", (2, 10.0), (4, 22.0)),  # has ended early
    ]
    found = conclusions(scores)["as_good_as"]
    # 21.0 is the goal: means of 10, 21.5, ...; the second moment comes after 2 and 4 seconds.
    assert found == {"slow": {"psnr": 21.0, "seconds": 50.0, "reached": 3.0, "ratio": pytest.approx(50 / 3)}}
    never = conclusions(scores[2:] + scores[:2])["as_good_as"]["fast"]
    assert (never["psnr"], never["reached"], never["ratio"]) == (22.5, None, None)
    assert conclusions([score("a", "no edit", 0, 1.0), *scores])["as_good_as"].keys() == {"slow"}
    text = "\n\n".join(table.markdown() for table in benchmark_tables(scores))
    assert re.search(r"\| slow +\| +21.00 \| +50.0 \| +3.0 \| +16.7 \|", text)


def test_differences_have_their_standard_error_and_the_p_of_a_signed_rank_test():
    margins = [0.5, 1.0, 1.5, 2.0, 2.5, 4.5]
    scores = [score(f"e{i}", "paper", seed, 20.0) for i in range(6) for seed in (0, 1)]
    scores += [
        score(f"e{i}", "mine", seed, 20 + margin + seed - 0.5) for i, margin in enumerate(margins) for seed in (0, 1)
    ]
    found = conclusions(scores)["against"]["paper"]["difference"]
    assert found["psnr"]["mean"] == pytest.approx(2.0)
    # Squares of -1.5, -1, -0.5, 0, 0.5, 2.5 sum up to 10; all six are positive, which one of 2^6 draws of signs is.
    assert found["psnr"]["standard_error"] == pytest.approx((10 / 5) ** 0.5 / 6**0.5)
    assert found["psnr"]["p"] == pytest.approx(2 / 2**6)
    assert found["ssim"] == {"mean": 0.0, "standard_error": 0.0, "p": None, "p_holm": None, "edits": 6}
    assert found["direction"] == {"mean": None, "standard_error": None, "p": None, "p_holm": None, "edits": 0}
    two = conclusions([s for s in scores if s.task in ("e0", "e1")])["against"]["paper"]["difference"]["psnr"]
    assert (two["mean"], two["standard_error"], two["p"]) == (0.75, pytest.approx(0.25), None)
    text = "\n\n".join(table.markdown() for table in benchmark_tables(scores))
    assert re.search(r"\| paper +\| +\+2.00 ± 0.58 \(0.031\) \| +\+0.000 ± 0.000 \| +- \|", text)


@pytest.mark.parametrize("p_values", [[0.04, 0.01, 0.03], [0.5, 0.9, 0.01, 0.012, 0.011], [0.02], [0.3, 0.3, 0.3]])
def test_holm_is_the_closed_test_of_bonferroni(p_values):
    """A hypothesis is refuted where every intersection of hypotheses that holds it is, each by Bonferroni's test."""
    indices = range(len(p_values))
    groups = [g for size in indices for g in itertools.combinations(indices, size + 1)]
    expected = [max(min(1, len(g) * min(p_values[j] for j in g)) for g in groups if i in g) for i in indices]
    assert holm(p_values) == pytest.approx(expected)
    assert holm([None, *p_values]) == [None, *holm(p_values)]


def test_p_values_of_several_methods_are_corrected_together_and_the_table_says_so():
    margins = {"a": [1.0] * 6, "b": [1, 2, 3, 4, 5, -6], "c": [1, 2, 3, 4, 5, -0.5]}
    scores = [score(f"e{i}", name, 0, 20.0 - m[i]) for name, m in margins.items() for i in range(6)]
    scores += [score(f"e{i}", "mine", 0, 20.0) for i in range(6)]
    found = [row["difference"]["psnr"] for row in conclusions(scores)["against"].values()]
    assert found[0]["p"] == pytest.approx(2 / 2**6)
    assert found[2]["p"] == pytest.approx(2 * 2 / 2**6)
    assert [row["p_holm"] for row in found] == pytest.approx(holm([row["p"] for row in found]))
    assert found[0]["p_holm"] == pytest.approx(3 * 2 / 2**6)
    text = "\n\n".join(table.markdown() for table in benchmark_tables(scores))
    assert "corrected for 3 comparisons by Holm's method" in text
    assert re.search(r"\| a +\| +\+1.00 ± 0.00 \(0.094\) \|", text)


def test_photos_count_within_their_task_before_tasks_are_averaged():
    scores = [Score("a", "m", 0, {"psnr": value}, photo=str(value)) for value in (1.0, 3.0)]
    scores += [Score("b", "m", 0, {"psnr": 10.0}), Score("b", "m", 0, {"psnr": None}, photo="x")]
    assert mean_of(scores, "psnr").mean == 6.0


def test_the_photos_own_size_has_a_table_of_its_own_where_it_was_measured():
    scores = [Score(edit, "m", 0, {"psnr": 20.0, "ssim": 0.5, "full_psnr": 18.5}) for edit in "ab"]
    found = [table.caption for table in benchmark_tables(scores)]
    assert found[:2] == ["PSNR to the truth, dB; one seed", "PSNR at the photos' own size, dB; one seed"]
    assert "own size" not in benchmark_tables([score("a", "m", 0, 20.0)])[1].caption
