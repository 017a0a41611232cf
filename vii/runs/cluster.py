"""Runs on Ray: pieces of the work are handed out to actors, each of which holds one editor.

Nothing else in the package imports Ray. A piece whose worker is lost is done again by another; what it had written is
written again, the same bytes, or kept where the run is one that goes on.
"""

import logging
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..cores import share_cores
from ..errors import EditorError, UsageError, ViiError
from .tasks import Task

INSTALL = "pip install 'vii[ray]'"
# Of a lost worker; more often, it is the work that ends it.
RETRIES = 4


@dataclass(frozen=True)
class Cluster:
    """Where work is done, and by how many.

    Attributes:
        address: of a cluster that runs, as `ray.init` takes it; None for one on this machine, of as many actors as it
            has GPUs or else cores.
        actors: how many; None for as many as there are GPUs, or cores where there is none.
        gpus: of each actor, a fraction for several on one; None for 1 where there are any.
        cpus: of each actor; also the threads of its networks.
    """

    address: str | None = None
    actors: int | None = None
    gpus: float | None = None
    cpus: float = 1.0

    def run(self, task: Task, items: Sequence[Any], warn: Callable[[str], None]) -> Iterator[Any]:
        """Do a task on all items; what comes of them, in the order in which pieces of them are done.

        Args:
            task: what to do; started once in each actor.
            items: what to do it on; files are named as every node of the cluster sees them.
            warn: called with each sentence that the task warns of.

        Raises:
            UsageError: Ray is not installed, or there is no such cluster.
            ViiError: the task cannot be started.
            EditorError: a piece of the work ended its worker again and again.
        """
        try:
            import ray
        except ImportError as error:
            raise UsageError(f"engine 'ray' needs Ray ({error}): {INSTALL}") from None
        own = not ray.is_initialized()
        if own:
            self._join(ray)
        try:
            yield from self._results(ray, task, items, warn)
        finally:
            if own:
                ray.shutdown()

    def _join(self, ray: Any) -> None:
        # Workers of this machine take the package from where this process has it.
        paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {} if self.address else {"env_vars": {"PYTHONPATH": os.pathsep.join(paths)}}
        try:
            ray.init(
                address=self.address or "local",
                logging_level=logging.ERROR,
                log_to_driver=False,
                runtime_env=environment,
                **({} if self.address else {"include_dashboard": False}),
            )
        except Exception as error:  # of Ray's many kinds
            raise UsageError(f"no Ray cluster at {self.address or 'this machine'} ({error})") from None

    def _results(self, ray: Any, task: Task, items: Sequence[Any], warn: Callable[[str], None]) -> Iterator[Any]:
        from ray.util import ActorPool

        gpus, actors = self._share(ray.cluster_resources())
        size = task.piece(len(items), actors)
        pieces = [pickle.dumps(items[start : start + size]) for start in range(0, len(items), size)]
        worker = ray.remote(_Worker).options(
            num_cpus=self.cpus,
            num_gpus=gpus,
            max_restarts=RETRIES,
            max_task_retries=RETRIES,
            scheduling_strategy="SPREAD",
        )
        pool = ActorPool([worker.remote(pickle.dumps(task)) for _ in range(min(actors, len(pieces)))])
        warned: set[str] = set()
        try:
            for done in pool.map_unordered(lambda actor, piece: actor.do.remote(piece), pieces):
                found, sentences = pickle.loads(done)
                for sentence in set(sentences) - warned:
                    warn(sentence)
                    warned.add(sentence)
                if isinstance(found, ViiError):
                    raise found
                yield from found
        except ray.exceptions.RayError as error:
            reason = " ".join(str(error).split())[-300:]
            raise EditorError(f"a worker of the cluster ended, {RETRIES} times anew: {reason}") from None

    def _share(self, resources: dict[str, float]) -> tuple[float, int]:
        """GPUs of an actor, and how many actors there are room for, or asked for."""
        there = resources.get("GPU", 0.0)
        gpus = self.gpus if self.gpus is not None else min(1.0, there)
        room = min(resources.get("CPU", 1.0) / max(self.cpus, 0.01), there / gpus if gpus else float("inf"))
        actors = self.actors or max(1, int(room))
        if actors > max(1, int(room)):
            raise UsageError(
                f"`actors`: the cluster has room for {int(room)} of {self.cpus:g} CPUs and {gpus:g} GPUs each"
            )
        return gpus, actors


class _Worker:
    """An actor: a task that was started, or what prevented it."""

    def __init__(self, task: bytes) -> None:
        share_cores()
        self.failure: ViiError | None = None
        self.warnings: Sequence[str] = ()
        try:
            self.work, self.warnings = pickle.loads(task).start()
        except ViiError as error:
            self.failure = error

    def do(self, piece: bytes) -> bytes:
        """What comes of a piece of the work, and what to warn of."""
        return pickle.dumps((self.failure or [*self.work(pickle.loads(piece))], self.warnings))
