"""A small part of tests/server_load.py, whose docstring describes all of it."""

from __future__ import annotations

import sys

import pytest

from tests import server_load

pytestmark = pytest.mark.process


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_a_full_queue_amid_bad_bodies_and_slow_clients() -> None:
    assert server_load.main(requests=40, clients=5, at_once=1, pictures_and_addresses=False) == 0
