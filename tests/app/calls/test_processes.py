"""The living and the dead among the processes of this machine."""

import fcntl
import signal
import subprocess
import sys
from pathlib import Path

from app.calls.processes import OwnProcess

LIVE = "import sys, pathlib; from app.calls.processes import OwnProcess\n" + (
    "with OwnProcess(pathlib.Path(sys.argv[1])) as own: print(own.name, flush=True); sys.stdin.read()"
)


def test_a_killed_process_is_known_to_be_dead_at_once(tmp_path: Path) -> None:
    with OwnProcess(tmp_path) as own:
        other = subprocess.Popen(
            [sys.executable, "-c", LIVE, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert other.stdin is not None and other.stdout is not None
        name = other.stdout.readline().strip()
        try:
            assert not own.outlived(name)
            other.send_signal(signal.SIGSTOP)
            assert not own.outlived(name), "one that stands still is not dead"
        finally:
            other.kill()
        while other.poll() is None and not own.outlived(name):
            pass
        assert own.outlived(name)
        other.wait()
        other.stdin.close()
        other.stdout.close()
    assert [path.name for path in tmp_path.iterdir()] == [name], "its calls may still have to be looked after"
    with OwnProcess(tmp_path) as successor:
        assert successor.outlived(name)
    assert list(tmp_path.iterdir()) == []


def test_of_a_process_elsewhere_nobody_here_knows(tmp_path: Path) -> None:
    with OwnProcess(tmp_path) as own:
        assert not own.outlived("another-host.17.abcdef")
        assert not own.outlived("../etc/passwd")
        assert not own.outlived(own.name)


def test_a_process_that_ends_in_good_order_leaves_no_file(tmp_path: Path) -> None:
    with OwnProcess(tmp_path / "processes"):
        pass
    assert list((tmp_path / "processes").iterdir()) == []


def test_one_that_had_not_taken_its_lock_yet_keeps_its_file(tmp_path: Path) -> None:
    beginning = tmp_path / "host.17.abcdef"
    beginning.touch()
    own = OwnProcess(tmp_path)
    with beginning.open("r+") as file:
        with own:
            fcntl.flock(file, fcntl.LOCK_EX)
        assert list(tmp_path.iterdir()) == [beginning]
