"""The options that choose where a run is done: in this process, or on a Ray cluster."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from ..errors import UsageError
from ..runs.tasks import Task
from .common import Command

# Does a task on items: what comes of each, with a function that is called with what to warn of.
Engine = Callable[[Task, Sequence[Any], Callable[[str], None]], Iterator[Any]]
OF_CLUSTERS = ("address", "actors", "gpus", "cpus")


def engine_options(command: Command) -> Command:
    """The options of an engine."""
    for option in (
        click.option(
            "--cpus", type=click.FloatRange(0, min_open=True), metavar="N", help="Of each actor. [default: 1]"
        ),
        click.option("--gpus", type=click.FloatRange(0), metavar="N", help="Of each actor, 0.5 for two on one."),
        click.option(
            "--actors", type=click.IntRange(1), metavar="N", help="Editors on the cluster; else all it can hold."
        ),
        click.option(
            "--address", metavar="ADDRESS", help="A Ray cluster, such as auto; one of this machine if not given."
        ),
        click.option("--engine", type=click.Choice(["local", "ray"]), default="local", help="Where (docs/cluster.md)."),
    ):
        command = option(command)
    return command


def engine_of(options: dict[str, Any]) -> Engine:
    """What does a task on items, by the options of `engine_options`, which are taken out of all that were given.

    In this process the task is started at once, on a cluster when its results are asked for.

    Raises:
        UsageError: an option of clusters, and none is asked for.
    """
    engine = options.pop("engine")
    given = {name: value for name in OF_CLUSTERS if (value := options.pop(name)) is not None}
    if engine == "local" and given:
        raise UsageError(f"--{', --'.join(given)}: of a cluster; give --engine ray too")
    if engine == "ray":
        from ..runs.cluster import Cluster

        return Cluster(**given).run
    return in_this_process


def in_this_process(task: Task, items: Sequence[Any], warn: Callable[[str], None]) -> Iterator[Any]:
    """The engine `local`."""
    work, warnings = task.start()
    for sentence in warnings:
        warn(sentence)
    return work(items)
