"""Many runs: one function, many jobs, as many processes as the machine has cores.

    for job, result in zip(jobs, sweep(work, jobs)): ...

Each run is its own world with its own seed, so it matters neither where nor in which order runs happen; results come
in the order of the jobs.  `work` and the jobs are pickled, so they must be importable things and plain values.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

#: Fewer jobs than this are not worth starting processes for.
FEW = 16


def sweep(work: Callable[[Job], Result], jobs: Sequence[Job], processes: int | None = None) -> Iterator[Result]:
    """The results of `work(job)` for each job, in order, as they come.

    `processes`: None for one for each core, and none at all for a few jobs.
    """
    few = processes is None and len(jobs) < FEW
    processes = min(processes or os.cpu_count() or 1, len(jobs))
    if processes <= 1 or few:
        yield from map(work, jobs)
        return
    # Fresh processes: a fork of a program that has threads (Jupyter's, say) may hang.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        try:
            yield from pool.map(work, jobs, chunksize=max(1, min(16, len(jobs) // (4 * processes))))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
