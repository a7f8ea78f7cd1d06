"""pjsua2's Python binding: what has to change in its interface file, and proof that the generated wrapper is safe.

The binding is generated with `swig -threads`: every wrapper gives up the GIL while it is in C++. That is right for the
library itself and wrong for the templates and helpers that SWIG adds, which create and touch Python objects: two
threads that use a `ByteVector` at once corrupt reference counts. So these keep the GIL: by SWIG's own switch where it
has one, else by an edit of what it generated. A wrapper that still has one that does not is refused.
"""

import re

_CONTAINERS = re.compile(r"^\s*%template\(\w+\)\s*std::[^;]+;", re.MULTILINE)
_KEEP_THE_GIL = """
%nothread swig::SwigPyIterator;
%nothread std::vector<unsigned char>::assign_from_bytes;
%nothread std::vector<unsigned char>::copy_to_bytearray;
"""
_CONTAINER_SUPPORT = ('%include "std_string.i"', '%include "std_vector.i"', '%include "std_map.i"')

_NO_SWITCH = re.compile(r"_wrap_(?:disown_\w+|new_LogWriter|new_PendingJob|SslCertInfo_serialNo_set)")
"""They take a reference to a director's Python half, or refuse an argument: SWIG has no feature that reaches these."""

_FUNCTION = re.compile(
    r"^(?:SWIGINTERN|SWIGRUNTIME|static)\b[^;{}]*?\b(\w+)\s*\([^;{}]*\)\s*\{\n.*?^\}", re.MULTILINE | re.DOTALL
)
_WITHOUT_GIL = re.compile(r"SWIG_PYTHON_THREAD_BEGIN_ALLOW;(.*?)SWIG_PYTHON_THREAD_END_ALLOW;", re.DOTALL)
_PYTHON = re.compile(r"\bPy[A-Z]\w*|\bswig::|\bSWIG_(?!PYTHON_THREAD)\w+")
_CALLED = re.compile(r"\b(\w+)\s*\(")


class UnexpectedSource(Exception):
    """The sources are not what this recipe was written for. Ours to adapt."""


def with_ring(interface: str) -> str:
    """The interface file `pjsua2.i` with containers that keep the GIL, with our audio ring and our source filter."""
    for line in _CONTAINER_SUPPORT:
        if interface.count(line) != 1:
            raise UnexpectedSource(f"pjsua2.i has no single line {line}")
    if not _CONTAINERS.search(interface):
        raise UnexpectedSource("pjsua2.i instantiates no containers")
    interface = _CONTAINERS.sub(lambda found: f"\n%nothread;{found[0]}\n%thread;", interface)
    first, last = _CONTAINER_SUPPORT[0], _CONTAINER_SUPPORT[-1]
    interface = interface.replace(first, f"%nothread;\n{first}").replace(last, f"{last}\n%thread;{_KEEP_THE_GIL}")
    return f'{interface}\n%include "audio_ring.i"\n%include "source_filter.i"\n'


def with_gil_kept(wrapper: str) -> str:
    """The generated C++ with the GIL kept in the functions that SWIG has no switch for."""
    return _FUNCTION.sub(lambda found: _keep(found[0]) if _NO_SWITCH.fullmatch(found[1]) else found[0], wrapper)


def unsafe_wrappers(wrapper: str) -> tuple[str, ...]:
    """Names of the functions in the generated C++ that touch Python objects after giving up the GIL.

    A stretch without the GIL touches Python when it names something of Python's or SWIG's own, or calls a helper of the
    same file that does so.
    """
    bodies = {found[1]: found[0] for found in _FUNCTION.finditer(wrapper)}
    touching = {name for name, body in bodies.items() if _PYTHON.search(body)}
    return tuple(
        name
        for name, body in bodies.items()
        for stretch in _WITHOUT_GIL.findall(body)
        if _PYTHON.search(stretch) or touching.intersection(_CALLED.findall(stretch))
    )


def check(wrapper: str) -> None:
    """Raise `UnexpectedSource` when the generated C++ is unsafe, or never gives up the GIL."""
    if not _WITHOUT_GIL.search(wrapper):
        raise UnexpectedSource("the wrapper never gives up the GIL: was it generated with -threads?")
    if unsafe := unsafe_wrappers(wrapper):
        listed = "\n  ".join(unsafe)
        raise UnexpectedSource(f"{len(unsafe)} wrappers touch Python objects without the GIL:\n  {listed}")


def _keep(function: str) -> str:
    return re.sub(r"SWIG_PYTHON_THREAD_(?:BEGIN|END)_ALLOW;", "", function)
