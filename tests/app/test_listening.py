"""Whose listening socket it is."""

import os
import socket

import pytest

from app.listening import inherited_fd, listening_socket


@pytest.mark.parametrize(
    ("environment", "fd"),
    [
        ({}, None),
        ({"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}, 3),
        ({"LISTEN_FDS": "1", "LISTEN_PID": "1"}, None),
        ({"LISTEN_FDS": "0", "LISTEN_PID": str(os.getpid())}, None),
        ({"LISTEN_FDS": "one", "LISTEN_PID": str(os.getpid())}, None),
    ],
)
def test_a_socket_is_inherited_by_the_process_that_it_was_meant_for(
    environment: dict[str, str], fd: int | None
) -> None:
    assert inherited_fd(environment) == fd


def test_a_new_socket_listens_and_an_inherited_one_is_the_same() -> None:
    with listening_socket("127.0.0.1", 0, None) as listener:
        port = listener.getsockname()[1]
        inherited = listening_socket("ignored", 1, os.dup(listener.fileno()))
        with inherited, socket.create_connection(("127.0.0.1", port)):
            assert inherited.getsockname()[1] == port
