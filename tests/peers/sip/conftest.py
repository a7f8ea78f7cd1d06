"""Real SIP peers as fixtures. Each is skipped with its reason where it cannot be had."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.sip.kamailio import Kamailio, carrier
from tests.telephony.sip.phones import need_pjsua2


@pytest.fixture
def kamailio(tmp_path: Path) -> Iterator[Kamailio]:
    """A carrier of one's own: it may be stopped and started."""
    need_pjsua2()
    with carrier(tmp_path) as ready:
        yield ready
