"""Several training runs at once, each with a core to itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import Any


def side_by_side(run: Callable[..., Any], jobs: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
    """Call ``run`` with the arguments of each job, in a new process for each, as many at once as there are cores.

    Give a run one thread. Results come as they are ready.
    """
    workers = os.cpu_count() or 1
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        for done in as_completed([pool.submit(run, *job) for job in jobs]):
            yield done.result()
