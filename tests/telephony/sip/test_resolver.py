"""A resolver that does not answer must not matter to calls between addresses, and to no other call than the one that
has to ask it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.telephony.sip.phones import need_pjsua2


def apart(what: str, folder: Path) -> str:
    """What `deaf_resolver` printed, in namespaces of its own."""
    need_pjsua2()
    own = ["unshare", "--net", "--uts", "--mount"]
    if os.geteuid() != 0 or subprocess.run([*own, "true"], capture_output=True, check=False).returncode:
        pytest.skip("namespaces cannot be made here: they need root")
    command = [*own, sys.executable, "-m", "tests.telephony.sip.deaf_resolver", what, folder]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_call_waits_for_a_resolver(tmp_path: Path) -> None:
    said = apart("storm", tmp_path)
    assert '"ended": 20, "failed": 0' in said
    assert "questions: 0\n" in said


def test_a_peer_whose_name_cannot_be_looked_up_holds_up_nobody_else(tmp_path: Path) -> None:
    said = json.loads(apart("names", tmp_path))
    assert said["questions"] > 0
    assert said["longest_s"] < 3.0, "a name is looked up for 10 s"
    assert said["ended_s"] < 5.0
