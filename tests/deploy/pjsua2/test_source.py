"""The sources are the user's, the pinned ones, or what a signed index vouches for, and the user is told which."""

import hashlib
from pathlib import Path

import pytest

from deploy.pjsua2 import source

CONTENT = b"a tarball"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An apt whose archive offers `CONTENT`, on the PATH. Returns the cache folder."""
    programs = tmp_path / "bin"
    programs.mkdir()
    row = f"'http://archive.test/pool/asterisk_23.orig-Xpjproject.tar.xz' asterisk.tar.xz 9 SHA256:{DIGEST}"
    _program(
        programs / "apt-get",
        f"""case "$*" in *indextargets*) echo http://archive.test/debian/;; *--print-uris*) echo "{row}";; esac""",
    )
    _program(programs / "apt-helper", f"""[ "$5" = "SHA256:{DIGEST}" ] && printf '{CONTENT.decode()}' > "$4" """)
    keyring = tmp_path / "keyring.gpg"
    keyring.touch()
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    monkeypatch.setattr(source, "APT_HELPER", str(programs / "apt-helper"))
    monkeypatch.setattr(source, "KEYRING", keyring)
    monkeypatch.delenv(source.OVERRIDE, raising=False)
    return tmp_path / "cache"


def _program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_an_archive_that_has_moved_on_is_believed_and_named(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = source.chosen(archive)
    assert wanted.digest == source.PINNED
    fetched = source.fetch(wanted, archive)
    assert (fetched.digest, fetched.path.read_bytes()) == (DIGEST, CONTENT)
    said = capsys.readouterr().out
    assert source.PINNED in said
    assert DIGEST in said
    assert source.chosen(archive) == fetched, "the next build finds what this one accepted"


def test_the_pinned_sources_are_taken_without_a_word(
    archive: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "PINNED", DIGEST)
    fetched = source.fetch(source.chosen(archive), archive)
    assert fetched.path.read_bytes() == CONTENT
    assert capsys.readouterr().out == ""
    (archive.parent / "bin" / "apt-get").unlink()
    assert source.fetch(source.chosen(archive), archive) == fetched, "from the cache"


def test_the_users_tarball_comes_first(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = archive.parent / "own.tar.gz"
    own.write_bytes(CONTENT)
    monkeypatch.setenv(source.OVERRIDE, str(own))
    assert source.fetch(source.chosen(archive), archive) == source.Sources(DIGEST, own)


def test_a_tarball_that_is_not_there_is_named(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(source.OVERRIDE, "/nowhere/own.tar.gz")
    with pytest.raises(source.NoSource, match=r"/nowhere/own\.tar\.gz"):
        source.chosen(archive)


def test_without_debians_keys_the_user_is_told_what_to_set(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "KEYRING", archive / "no-such-key")
    with pytest.raises(source.NoSource, match=source.OVERRIDE):
        source.fetch(source.chosen(archive), archive)
