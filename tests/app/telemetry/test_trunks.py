"""Trunks' states and the quality of calls' media, as Prometheus is told."""

from app.calls.journal import MediaMeasured
from app.telemetry.metrics import Metrics
from app.telemetry.trunks import expose_trunks
from telephony.sip.events import TrunkState, TrunkStatus


def test_a_trunk_is_in_one_state_at_a_time() -> None:
    metrics, now = Metrics(), {"state": TrunkState.STARTING}
    expose_trunks(metrics.registry, lambda: (TrunkStatus("office", now["state"]),))

    def states() -> dict[str, float | None]:
        read = metrics.registry.get_sample_value
        return {s.value: read("sidetone_sip_trunk", {"trunk": "office", "state": s.value}) for s in TrunkState}

    assert states() == {"starting": 1, "up": 0, "down": 0, "rejected": 0, "closed": 0}
    now["state"] = TrunkState.UP
    assert states() == {"starting": 0, "up": 1, "down": 0, "rejected": 0, "closed": 0}


def test_what_was_measured_in_calls_is_distributed() -> None:
    metrics = Metrics()
    facts: dict[str, float | str] = {
        "codec": "PCMU",
        "packets_received": 990.0,
        "packets_lost": 10.0,
        "jitter_ms": 4.0,
        "mos": 4.1,
    }
    metrics.observe(MediaMeasured(1.0, facts))
    metrics.observe(MediaMeasured(1.0, {"codec": "PCMU", "packets_received": 0.0, "packets_lost": 0.0}))
    read = metrics.registry.get_sample_value
    assert read("sidetone_rtp_loss_ratio_sum") == 0.01
    assert read("sidetone_rtp_loss_ratio_count") == 1
    assert read("sidetone_rtp_jitter_milliseconds_sum") == 4.0
    assert read("sidetone_rtp_mos_bucket", {"le": "4.2"}) == 1
    assert read("sidetone_rtp_round_trip_milliseconds_count") == 0


def test_without_rtp_nothing_is_told_of_it() -> None:
    assert b"rtp" not in Metrics().exposition()
