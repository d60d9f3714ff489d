import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

from ticketing.chassis import metrics
from ticketing.chassis.workers.expositions import WorkerExpositions


def worker(calls: int, lag: float, waiting: int) -> str:
    registry = CollectorRegistry()
    Counter("calls", "Calls.", ["rpc"], registry=registry).labels("Buy").inc(calls)
    Gauge("feed_lag_seconds", "The lag.", registry=registry).set(lag)
    Gauge("batch_waiting", "Waiting.", registry=registry).set(waiting)
    Histogram("call_seconds", "Durations.", buckets=(1, 2), registry=registry).observe(calls)
    Info("build", "The version.", registry=registry).info({"version": "1"})
    return generate_latest(registry).decode()


def exposed(workers: Mapping[int, str | None], expositions: WorkerExpositions | None = None) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(expositions or WorkerExpositions(lambda: workers))
    lines = generate_latest(registry).decode().splitlines()
    samples = [line.rpartition(" ") for line in lines if not line.startswith("#") and "_created" not in line]
    return {name: float(value) for name, _, value in samples}


def test_counts_and_queues_of_workers_are_added() -> None:
    found = exposed({1: worker(calls=1, lag=0, waiting=3), 2: worker(calls=2, lag=0, waiting=4)})
    assert found['calls_total{rpc="Buy"}'] == 3
    assert found["batch_waiting"] == 7
    assert (found['call_seconds_bucket{le="1.0"}'], found['call_seconds_bucket{le="+Inf"}']) == (1, 2)
    assert (found["call_seconds_count"], found["call_seconds_sum"]) == (2, 3)


def test_the_greatest_lag_and_one_version_are_shown() -> None:
    found = exposed({1: worker(calls=0, lag=5, waiting=0), 2: worker(calls=0, lag=9, waiting=0)})
    assert found["feed_lag_seconds"] == 9
    assert found['build_info{version="1"}'] == 1


def test_counts_of_an_ended_worker_stay_and_its_queue_goes() -> None:
    workers: dict[int, str | None] = {1: worker(calls=1, lag=7, waiting=3), 2: worker(calls=2, lag=1, waiting=4)}
    expositions = WorkerExpositions(lambda: workers)
    assert exposed(workers, expositions)['calls_total{rpc="Buy"}'] == 3
    del workers[1]
    found = exposed(workers, expositions)
    assert (found['calls_total{rpc="Buy"}'], found["batch_waiting"], found["feed_lag_seconds"]) == (3, 4, 1)
    # The worker that takes its place begins at zero.
    workers[3] = worker(calls=5, lag=0, waiting=0)
    assert exposed(workers, expositions)['calls_total{rpc="Buy"}'] == 8


def test_a_worker_that_does_not_answer_once_is_not_counted_twice() -> None:
    workers: dict[int, str | None] = {1: worker(calls=5, lag=0, waiting=0)}
    expositions = WorkerExpositions(lambda: workers)
    exposed(workers, expositions)
    answered, workers[1] = workers[1], None
    assert exposed(workers, expositions)['calls_total{rpc="Buy"}'] == 5
    workers[1] = answered
    assert exposed(workers, expositions)['calls_total{rpc="Buy"}'] == 5


def test_concurrent_readers_wait_for_each_other() -> None:
    workers: dict[int, str | None] = {1: worker(calls=5, lag=0, waiting=0)}
    both_read, concurrent = threading.Barrier(2), list[int]()

    def read() -> Mapping[int, str | None]:
        with suppress(threading.BrokenBarrierError):
            # Two readers here would have the same last answers.
            concurrent.append(both_read.wait(0.2))
        return dict(workers)

    expositions = WorkerExpositions(read)
    exposed(workers, expositions)
    del workers[1]
    both_read.reset()
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda _: exposed({}, expositions), range(2)))
    assert not concurrent
    assert exposed({}, expositions)['calls_total{rpc="Buy"}'] == 5


def test_a_gauge_of_the_database_is_shown_once_and_not_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_NAMES", {"held_places"})

    def exporting(held: int) -> str:
        registry = CollectorRegistry()
        Gauge("held_places", "Held places.", registry=registry).set(held)
        return generate_latest(registry).decode()

    # The second worker has read the database later.
    assert exposed({1: exporting(7), 2: exporting(8)})["held_places"] == 8
