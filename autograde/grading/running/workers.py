"""Who does the grading: threads on this machine, or the workers of a Dask cluster, behind the same two methods."""

from __future__ import annotations

import atexit
import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

from autograde.errors import Refusal
from autograde.grading.intake.graft import graft
from autograde.grading.intake.plan import Plan
from autograde.grading.intake.submission import Submission
from autograde.grading.record.result import Result
from autograde.grading.running.engine import grade
from autograde.grading.sandbox.pool import Pool
from autograde.grading.sandbox.process import SandboxFailed
from autograde.grading.sandbox.tiers import Limits

CONNECT_SECONDS = 30


class Workers(Protocol):
    """What a class run needs."""

    ahead: int  # submissions under way at once

    def submit(self, submission: Submission) -> Future[Result]:
        """Grade one submission, some time."""

    def learn(self, reference: Result) -> None:
        """Before the next submissions: import what it needed, and allow them as much time as it shows to be fair."""

    def close(self) -> None:
        """Drop what has not begun, and leave nothing behind."""


REFERENCE_KEY = "reference"  # instead of a hash: the instructor's own answers, handed in


def work(plan: Plan, pool: Pool, submission: Submission, limits: Limits) -> Result:
    """Graft and grade one submission: what every worker does."""
    grafted = graft(plan, submission)
    return grade(plan, grafted, pool, submission.student, submission.files, limits, submission.key == REFERENCE_KEY)


class Local:
    """Threads over one pair of warm parents."""

    def __init__(self, plan: Plan, limits: Limits, jobs: int, pool: Pool | None = None):
        self.plan, self.limits, self.ahead = plan, limits, 2 * jobs
        self.pool = (pool or Pool()).configure(plan.modules, plan.withheld, limits)
        if hasattr(os, "sched_getaffinity"):  # here all of this machine's grading is ours; on a cluster it is not
            self.pool.pinned = dict.fromkeys(sorted(os.sched_getaffinity(0)), 0)
        self.threads = ThreadPoolExecutor(jobs)
        self.stopped = threading.Event()

    def submit(self, submission: Submission) -> Future[Result]:
        """Queue it."""
        return self.threads.submit(self._work, submission)

    def learn(self, reference: Result) -> None:
        """Tell the warm parent."""
        self.pool.limits = self.limits = self.limits.fair(reference.slowest)
        self.pool.learn(reference.modules)

    def _work(self, submission: Submission) -> Result:
        if self.stopped.is_set():
            raise SandboxFailed("stopped")
        return work(self.plan, self.pool, submission, self.limits)

    def close(self) -> None:
        """End the sandboxes."""
        self.stopped.set()
        self.threads.shutdown(wait=False, cancel_futures=True)
        self.pool.close()


_pools: dict[str, Pool] = {}
_lock = threading.Lock()


def on_a_worker(plan: Plan, submission: Submission, limits: Limits, modules: list[str]) -> dict:
    """Runs on a Dask worker, which keeps its warm parents from one submission to the next."""
    name = f"{plan.key} {limits}"
    with _lock:
        if name not in _pools:
            _pools[name] = Pool().configure(plan.modules, plan.withheld, limits)
            atexit.register(_pools[name].close)
        _pools[name].learn(modules)
    return work(plan, _pools[name], submission, limits).document()


class Cluster:
    """The workers of an existing Dask scheduler. They need this project, and the same sandbox."""

    def __init__(self, plan: Plan, limits: Limits, scheduler: str):
        from distributed import Client

        try:
            self.client = Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise Refusal(f"no Dask scheduler answers at {scheduler}: {error}") from None
        self.client.wait_for_workers(1, timeout=CONNECT_SECONDS)
        self.limits = limits
        self.plan: Any = self.client.scatter(plan, broadcast=True)
        self.executor = self.client.get_executor(pure=False)
        self.modules: list[str] = []
        self.ahead = 2 * sum(self.client.nthreads().values())

    def learn(self, reference: Result) -> None:
        """The workers hear of it with the next submission."""
        self.limits, self.modules = self.limits.fair(reference.slowest), reference.modules

    def submit(self, submission: Submission) -> Future[Result]:
        """Send it to the cluster."""
        answer: Future[Result] = Future()
        remote = self.executor.submit(on_a_worker, self.plan, submission, self.limits, self.modules)

        def arrived(done: Future) -> None:
            if done.cancelled():
                answer.cancel()
            elif done.exception() is not None:
                answer.set_exception(done.exception())
            else:
                answer.set_result(Result.of(done.result()))

        remote.add_done_callback(arrived)
        return answer

    def close(self) -> None:
        """Leave the cluster as it was."""
        self.client.close()
