from pathlib import Path

import pytest

from telephony.simulator.errors import ScriptRejected
from telephony.simulator.faults import Fault, Network, Stall
from telephony.simulator.script import (
    AwaitHangUp,
    HangUp,
    Listen,
    Press,
    Say,
    Wait,
    built_in_scripts,
    load_script,
    read_script,
    script_of_files,
)
from telephony.simulator.sound import mulaw_wav


def test_the_built_in_scripts_can_be_performed() -> None:
    assert set(built_in_scripts()) >= {"appointment", "demo"}
    for name in built_in_scripts():
        script = load_script(name)
        assert isinstance(script.steps[-1], AwaitHangUp | HangUp)


def test_the_demonstration_holds_its_three_turns() -> None:
    said = [step.say for step in load_script("demo").steps if isinstance(step, Say)]
    assert said[:3] == ["Hello, how are you today?", "What's the weather like?", "Can you tell me the time?"]


def test_every_step_and_option_is_read() -> None:
    script = read_script(
        """
        title = "All"
        finished_after_ms = 500
        noise_dbfs = -65
        faults = ["no_stop", "unknown_event"]
        [network]
        delay_ms = 40
        drop_at_s = 3.5
        [[network.stalls]]
        at_s = 1
        for_ms = 400
        [expect]
        answers = 1
        gaps_at_most = 0
        answer_p90_ms = 900
        [[step]]
        listen = true
        begins_within_ms = 2000
        [[step]]
        say = "Goodbye."
        answer_within_ms = 1500
        understood = ["goodbye"]
        not_understood = ["tomorrow"]
        [[step]]
        say = "Stop!"
        interrupt_after_ms = 800
        stop_within_ms = 500
        [[step]]
        press = "12#"
        [[step]]
        wait_ms = 300
        [[step]]
        await_hang_up = true
        at_most_ms = 2000
        [[step]]
        hang_up = true
        """,
        Path(),
    )
    assert script.steps == (
        Listen(begins_within_ms=2000),
        Say(say="Goodbye.", answer_within_ms=1500, understood=("goodbye",), not_understood=("tomorrow",)),
        Say(say="Stop!", interrupt_after_ms=800, stop_within_ms=500),
        Press(press="12#"),
        Wait(wait_ms=300),
        AwaitHangUp(at_most_ms=2000),
        HangUp(),
    )
    assert script.faults == {Fault.NO_STOP, Fault.UNKNOWN_EVENT}
    assert script.network == Network(delay_ms=40, drop_at_s=3.5, stalls=(Stall(1, 400),))
    assert (script.expect.answers, script.expect.gaps_at_most, script.expect.answer_p90_ms) == (1, 0, 900)
    assert (script.finished_after_ms, script.noise_dbfs) == (500, -65)
    assert set(script.utterances) == {"Goodbye.", "Stop!"}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("title =", "Invalid value"),
        ("[[step]]\nlisten = true", "title"),
        ('title = "x"', "step"),
        ('title = "x"\nvolume = 3\n[[step]]\nlisten = true', "volume"),
        ('title = "x"\nfaults = ["gremlins"]\n[[step]]\nlisten = true', "gremlins"),
        ('title = "x"\n[[step]]\nshout = "hello"', "step 1: exactly one of say"),
        ('title = "x"\n[[step]]\nlisten = true\n[[step]]\nsay = "hello"\npress = "1"', "step 2: exactly one"),
        ('title = "x"\n[[step]]\nsay = "hello"\nloudly = true', "step 1: .*loudly"),
        ('title = "x"\n[[step]]\nwait_ms = "long"', "step 1: .*float"),
        ('title = "x"\n[[step]]\npress = "1x"', "step 1: press '1x'"),
        ('title = "x"\n[[step]]\npress = ""', "step 1: press"),
        ('title = "x"\n[[step]]\nsay = "sing me a song"', "no recording of 'sing me a song'"),
    ],
)
def test_a_wrong_script_is_rejected_with_the_step_and_the_reason(text: str, complaint: str) -> None:
    with pytest.raises(ScriptRejected, match=complaint):
        read_script(text, Path())


def test_a_wrong_file_is_rejected_by_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    with pytest.raises(ScriptRejected, match=r"mine\.toml: No such file.*appointment"):
        load_script(str(path))
    path.write_text("title = 3")
    with pytest.raises(ScriptRejected, match=r"mine\.toml: "):
        load_script(str(path))


def test_files_are_said_in_turn_and_each_is_heard_out(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.wav", "b.wav")]
    for path in paths:
        path.write_bytes(mulaw_wav(b"\x00" * 800))
    script = script_of_files(paths)
    assert script.steps == (Listen(), Say(say=str(paths[0])), Listen(), Say(say=str(paths[1])), Listen(), HangUp())
    assert [script.utterances[str(path)].text for path in paths] == ["a", "b"]
