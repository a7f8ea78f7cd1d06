"""From the sources of pjproject to a wheel: static libraries, the generated binding, one extension module."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from deploy.pjsua2 import source, wrapper

HERE = Path(__file__).parent
OF_LIBRARIES = ("build.py", "config_site.h")
NATIVE = ("audio_ring.i", "audio_ring.h", "sample_ring.h", "source_filter.i", "source_filter.h")
OF_WHEEL = (*OF_LIBRARIES, "wrapper.py", "extension.py", *NATIVE)
OLDEST = (2, 17)
TAG = f"cp{sys.version_info.major}{sys.version_info.minor}"
"""The running Python in the names of wheels."""
DEADLINE_S = 1200.0

_FLAGS = "-O2 -fPIC -DNDEBUG"
_CONFIGURE = (
    # What a telephone line needs, from the system's libraries ...
    "--enable-epoll --with-external-srtp --enable-libsamplerate "
    # ... and nothing else: no devices, no pictures, no codecs that no trunk offers.
    "--disable-sound --disable-video --disable-sdl --disable-ffmpeg --disable-v4l2 --disable-openh264 --disable-vpx "
    "--disable-libyuv --disable-libwebrtc --disable-opencore-amr --disable-silk --disable-bcg729 --disable-lyra "
    "--disable-upnp --disable-libuuid --disable-speex-aec --disable-speex-codec --disable-ilbc-codec "
    "--disable-g7221-codec --disable-gsm-codec"
).split()
_BINDING = "pjsip-apps/src/swig"
_LIBRARIES = ("pjlib", "pjlib-util", "pjmedia", "pjsip", "pjnath")


_CALL = "pjsip/src/pjsua-lib/pjsua_call.c"
_EDITS = (
    # Debian leaves out the source of this sound device, which is not free.
    ("pjmedia/build/Makefile", " bdimad_dev.o", ""),
    # Until it is configured, the library tells the standard output everything.
    ("pjlib/src/pj/log.c", "static int pj_log_max_level = PJ_LOG_MAX_LEVEL;", "static int pj_log_max_level = 0;"),
    # Unasked, pjsua offers real-time text with every call, and gives it two ports, a thread, and 300 ms at the end.
    (_CALL, "opt->txt_cnt = 1;", "opt->txt_cnt = 0;"),
    # An ended dialog keeps pointing at its call's slot, where the next call is by the time that the last transaction
    # ends (5 s): its object was then called from a thread that holds no lock on it, even while it was being deleted.
    (
        _CALL,
        "/* Free call */\n        call->inv = NULL;",
        "/* Free call */\n        call->inv = NULL;\n        inv->dlg->mod_data[pjsua_var.mod.id] = NULL;",
    ),
    # Likewise a call object that outlives its call: its destructor cut off, and hung up, whoever had the slot then.
    (
        "pjsip/src/pjsua2/call.cpp",
        "    if (id != PJSUA_INVALID_ID)\n        pjsua_call_set_user_data(id, NULL);\n\n    /*",
        "    if (id == PJSUA_INVALID_ID || pjsua_call_get_user_data(id) != this)\n        return;\n"
        "    pjsua_call_set_user_data(id, NULL);\n\n    /*",
    ),
    # What is told of a stream points into the stream, which the peer's BYE may free while it is being read.
    (
        "pjsip/src/pjsua2/call.cpp",
        "    PJSUA2_CHECK_EXPR( pjsua_call_get_stream_info(id, med_idx, &pj_si) );\n    si.fromPj(pj_si);\n",
        "    PJSUA_LOCK();\n"
        "    pj_status_t status = pjsua_call_get_stream_info(id, med_idx, &pj_si);\n"
        "    if (status == PJ_SUCCESS)\n        si.fromPj(pj_si);\n"
        "    PJSUA_UNLOCK();\n"
        "    PJSUA2_CHECK_EXPR( status );\n",
    ),
)
"""File, text, what it is replaced with."""


class BuildFailed(Exception):
    """A step of the build failed. The message has the end of what it said."""


def libraries(tree: Path, sources: source.Sources) -> Path:
    """The source tree with its static libraries built; `tree` itself, from an earlier time if it is complete."""
    if (tree / "complete").is_file():
        return tree
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    source.unpack(sources, tree)
    if _version(tree) < OLDEST:
        raise wrapper.UnexpectedSource(f"{sources.path} holds no pjproject of 2.17 or later")
    shutil.copy(HERE / "config_site.h", tree / "pjlib/include/pj")
    for edit in _EDITS:
        _edit(tree, *edit)
    run(["./configure", f"CFLAGS={_FLAGS}", f"CXXFLAGS={_FLAGS}", *_CONFIGURE], cwd=tree)
    run(["make", "dep"], cwd=tree)
    run(["make", f"-j{len(os.sched_getaffinity(0))}", "lib"], cwd=tree)
    (tree / "complete").touch()
    return tree


def wheel(tree: Path, shelf: Path, label: str) -> Path:
    """The wheel for the running Python, put on `shelf`. `label` becomes the local part of its version."""
    work = shelf / f"build-{TAG}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    for name in (*NATIVE, "extension.py"):
        shutil.copy(HERE / name, work)
    (work / "pjsua2.i").write_text(wrapper.with_ring((tree / _BINDING / "pjsua2.i").read_text()))
    includes = [f"-I{tree / _BINDING}", *(f"-I{tree / library / 'include'}" for library in _LIBRARIES)]
    run(["swig", "-c++", "-threads", "-python", "-w312", *includes, "-o", "pjsua2_wrap.cpp", "pjsua2.i"], cwd=work)
    generated = wrapper.with_gil_kept((work / "pjsua2_wrap.cpp").read_text())
    wrapper.check(generated)
    (work / "pjsua2_wrap.cpp").write_text(generated)
    flags = {kind: _flags(tree, kind) for kind in ("cflags", "ldflags", "libs")}
    version = ".".join(map(str, _version(tree)))
    (work / "extension.json").write_text(json.dumps({"version": f"{version}+{label}", **flags}))
    run([sys.executable, "extension.py", "--quiet", "bdist_wheel", "--dist-dir", str(shelf)], cwd=work)
    shutil.rmtree(work)
    return next(shelf.glob(f"*-{TAG}-*.whl"))


def run(command: list[str], cwd: Path) -> str:
    """What the command printed. Raises `BuildFailed`."""
    done = subprocess.run(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=DEADLINE_S, check=False
    )
    if done.returncode:
        raise BuildFailed(f"{' '.join(command[:3])} …\n{done.stdout[-3000:]}")
    return done.stdout


def _edit(tree: Path, name: str, old: str, new: str) -> None:
    path = tree / name
    text = path.read_text()
    if text.count(old) != 1:
        raise wrapper.UnexpectedSource(f"{name} has changed: {text.count(old)} places instead of one read\n{old}")
    path.write_text(text.replace(old, new))


def _version(tree: Path) -> tuple[int, ...]:
    numbers = re.findall(
        r"^export PJ_VERSION_(?:MAJOR|MINOR|REV)\s*:=[ \t]*(\d+)", (tree / "version.mak").read_text(), re.M
    )
    return tuple(map(int, numbers))


def _flags(tree: Path, kind: str) -> list[str]:
    """The compiler's or linker's options that the tree was configured with."""
    return run(["make", "--no-print-directory", "-f", "helper.mak", kind], cwd=tree / _BINDING / "python").split()
