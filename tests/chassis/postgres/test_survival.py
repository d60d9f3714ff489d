"""Acknowledged rows survive the kill of any process, and the server recovers."""

import os
import random
import signal
from functools import partial

import psycopg2
import pytest

from tests.environment.waiting import eventually

pytestmark = pytest.mark.slow

VICTIMS = ("a service", "the keeper", "the server", "keeper and server", "all processes")
ROUNDS = 5


@pytest.fixture(params=["as this user", "as nobody"])
def place(request):
    if request.param == "as this user":
        return request.getfixturevalue("site")
    open_site = request.getfixturevalue("open_site")
    open_site.command = request.getfixturevalue("as_nobody")
    os.chown(open_site.data_dir, 65534, 65534)
    return open_site


@pytest.mark.parametrize("seed", [1, 2])
def test_acknowledged_rows_survive_kills_in_random_order(place, seed):
    rng = random.Random(seed)
    processes = [place.start_process(), place.start_process()]
    url = {process.url() for process in processes}.pop()
    place.query(url, "CREATE TABLE acknowledged (round int PRIMARY KEY)")
    for turn in range(ROUNDS):
        place.query(url, f"INSERT INTO acknowledged VALUES ({turn})")
        victim = rng.choice(VICTIMS)
        kill_victim(place, victim, processes, rng)
        if victim == "all processes":
            processes = [place.start_process(), place.start_process()]
            url = {process.url() for process in processes}.pop()
        elif victim == "a service":
            processes.append(place.start_process())
            assert processes[-1].url() == url, "the port changed while a lease existed"
        eventually(partial(answers, place, url))
        rows = place.query(url, "SELECT round FROM acknowledged ORDER BY round")
        assert rows == [(number,) for number in range(turn + 1)], f"after the kill of {victim}"
    for process in processes:
        process.release()
    place.wait_until_idle()


def kill_victim(place, victim, processes, rng):
    if victim == "a service":
        processes.pop(rng.randrange(len(processes))).kill()
        return
    postmaster, keeper = place.postmaster_pid(), place.keeper_pid()
    if victim == "all processes":
        while processes:
            processes.pop().kill()
    for pid, is_victim in ((keeper, victim != "the server"), (postmaster, victim != "the keeper")):
        if is_victim:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                assert victim in {"all processes", "keeper and server"}, "the victim had already ended"
    if victim != "all processes":
        # A server that has lost its keeper may still answer for a moment.
        eventually(lambda: place.postmaster_pid() not in {postmaster, None})


def answers(place, url):
    try:
        return place.query(url, "SELECT 1") == [(1,)]
    except psycopg2.OperationalError:
        return False


def test_the_server_ends_with_its_keeper_and_the_last_lease(site):
    process = site.start_process()
    process.url()
    keeper = site.keeper_pid()
    os.kill(process.process.pid, signal.SIGKILL)
    os.kill(keeper, signal.SIGKILL)
    site.wait_until_idle()


def test_a_keeper_killed_during_initdb_is_replaced(empty_site):
    process = empty_site.start_process()
    eventually((empty_site.layout.staging / "data" / "base").exists)
    os.kill(empty_site.keeper_pid(), signal.SIGKILL)
    assert empty_site.query(process.url(), "SELECT 1") == [(1,)]
    assert not empty_site.layout.staging.exists()


def test_a_stale_process_id_of_another_program_is_ignored(site):
    (site.layout.data / "postmaster.pid").write_text(f"{os.getppid()}\n{site.layout.data}\n1\n15432\n\n127.0.0.1\n")
    with site.lease() as server:
        assert answers(site, server.url("things"))
