"""A resolver that does not answer must not matter to calls between addresses."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.telephony.sip.phones import need_pjsua2


def test_no_call_waits_for_a_resolver(tmp_path: Path) -> None:
    need_pjsua2()
    apart = ["unshare", "--net", "--uts", "--mount"]
    if os.geteuid() != 0 or subprocess.run([*apart, "true"], capture_output=True, check=False).returncode:
        pytest.skip("namespaces cannot be made here: they need root")
    storm = [sys.executable, "-m", "tests.telephony.sip.deaf_resolver", tmp_path]
    done = subprocess.run([*apart, *storm], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert '"ended": 20, "failed": 0' in done.stdout
    assert "questions: 0\n" in done.stdout
