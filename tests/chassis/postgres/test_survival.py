"""Whoever is killed, what was acknowledged is still there and the server can be used again."""

import os
import random
import signal
from functools import partial

import psycopg2
import pytest

from tests.environment.waiting import eventually

pytestmark = pytest.mark.slow

VICTIMS = ("a service", "the keeper", "the server", "keeper and server", "everybody")
ROUNDS = 5


@pytest.fixture(params=["as we are", "as nobody"])
def place(request):
    if request.param == "as we are":
        return request.getfixturevalue("site")
    open_site = request.getfixturevalue("open_site")
    open_site.command = request.getfixturevalue("as_nobody")
    os.chown(open_site.data_dir, 65534, 65534)
    return open_site


@pytest.mark.parametrize("seed", [1, 2])
def test_acknowledged_rows_survive_kills_in_random_order(place, seed):
    rng = random.Random(seed)
    holders = [place.hold(), place.hold()]
    url = {holder.url() for holder in holders}.pop()
    place.query(url, "CREATE TABLE acknowledged (round int PRIMARY KEY)")
    for turn in range(ROUNDS):
        place.query(url, f"INSERT INTO acknowledged VALUES ({turn})")
        victim = rng.choice(VICTIMS)
        strike(place, victim, holders, rng)
        if victim == "everybody":
            holders = [place.hold(), place.hold()]
            url = {holder.url() for holder in holders}.pop()
        elif victim == "a service":
            holders.append(place.hold())
            assert holders[-1].url() == url, "the server moved while a lease was held"
        eventually(partial(answers, place, url))
        rows = place.query(url, "SELECT round FROM acknowledged ORDER BY round")
        assert rows == [(number,) for number in range(turn + 1)], f"after the death of {victim}"
    for holder in holders:
        holder.release()
    place.wait_until_idle()


def strike(place, victim, holders, rng):
    if victim == "a service":
        holders.pop(rng.randrange(len(holders))).kill()
        return
    postmaster, keeper = place.postmaster_pid(), place.keeper_pid()
    if victim == "everybody":
        while holders:
            holders.pop().kill()
    for pid, doomed in ((keeper, victim != "the server"), (postmaster, victim != "the keeper")):
        if doomed:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                assert victim in {"everybody", "keeper and server"}, "died before we came"
    if victim != "everybody":
        # A server that has lost its keeper may answer for another moment.
        eventually(lambda: place.postmaster_pid() not in {postmaster, None})


def answers(place, url):
    try:
        return place.query(url, "SELECT 1") == [(1,)]
    except psycopg2.OperationalError:
        return False


def test_the_server_dies_with_its_keeper_when_nobody_is_there_to_replace_it(site):
    holder = site.hold()
    holder.url()
    keeper = site.keeper_pid()
    os.kill(holder.process.pid, signal.SIGKILL)
    os.kill(keeper, signal.SIGKILL)
    site.wait_until_idle()


def test_a_keeper_killed_while_it_makes_the_cluster_leaves_a_directory_that_works(empty_site):
    holder = empty_site.hold()
    eventually((empty_site.layout.staging / "data" / "base").exists)
    os.kill(empty_site.keeper_pid(), signal.SIGKILL)
    assert empty_site.query(holder.url(), "SELECT 1") == [(1,)]
    assert not empty_site.layout.staging.exists()


def test_a_leftover_process_id_of_a_living_stranger_does_not_stop_the_start(site):
    (site.layout.data / "postmaster.pid").write_text(f"{os.getppid()}\n{site.layout.data}\n1\n15432\n\n127.0.0.1\n")
    with site.lease() as server:
        assert answers(site, server.url("things"))
