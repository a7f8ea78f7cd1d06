"""The binding keeps the GIL wherever it touches Python, and a binding that does not is refused."""

import pytest

from deploy.pjsua2.wrapper import UnexpectedSource, check, unsafe_wrappers, with_gil_kept, with_ring

INTERFACE = """%include "std_string.i"
%include "std_vector.i"
%include "std_map.i"

%template(StringVector)          std::vector<std::string>;

%include "pjsua2/call.hpp"
"""


def function(name: str, without_gil: str) -> str:
    return (
        f"SWIGINTERN PyObject *{name}(PyObject *self, PyObject *args) {{\n"
        "  {\n"
        "    SWIG_PYTHON_THREAD_BEGIN_ALLOW;\n"
        f"    {without_gil}\n"
        "    SWIG_PYTHON_THREAD_END_ALLOW;\n"
        "  }\n"
        "  return PyLong_FromLong(0);\n"
        "}\n"
    )


HELPER = "SWIGINTERN void vector_fill(std::vector< int > *self,PyObject *from){\n  PyObject_Length(from);\n}\n"
SAFE = function("_wrap_hangup", "(arg1)->hangup(*arg2);")


def test_containers_keep_the_gil_and_the_library_gives_it_up() -> None:
    lines = [line for line in with_ring(INTERFACE).splitlines() if line]
    template = lines.index("%template(StringVector)          std::vector<std::string>;")
    assert (lines[template - 1], lines[template + 1]) == ("%nothread;", "%thread;")
    support = lines.index('%include "std_string.i"')
    assert (lines[support - 1], lines[support + 3]) == ("%nothread;", "%thread;")
    assert lines.index('%include "pjsua2/call.hpp"') > template + 1
    assert '%include "audio_ring.i"' in lines


@pytest.mark.parametrize(
    "missing", ['%include "std_map.i"\n', "%template(StringVector)          std::vector<std::string>;"]
)
def test_an_interface_that_this_recipe_does_not_know_is_refused(missing: str) -> None:
    with pytest.raises(UnexpectedSource):
        with_ring(INTERFACE.replace(missing, ""))


@pytest.mark.parametrize(
    "without_gil",
    [
        "result = PyList_New(0);",
        "result = (PyObject *)(arg1)->value();",
        "(arg1)->iterator((swig::SwigPyIterator *)arg2);",
        'SWIG_SetErrorMsg(PyExc_RuntimeError,"abstract");',
        "vector_fill(arg1,arg2);",
    ],
)
def test_a_wrapper_that_touches_python_without_the_gil_is_refused(without_gil: str) -> None:
    generated = HELPER + SAFE + function("_wrap_bad", without_gil)
    assert unsafe_wrappers(generated) == ("_wrap_bad",)
    with pytest.raises(UnexpectedSource, match="_wrap_bad"):
        check(generated)


def test_a_wrapper_that_only_works_in_the_library_is_fine() -> None:
    check(HELPER + SAFE)


def test_a_wrapper_that_never_gives_up_the_gil_is_refused() -> None:
    with pytest.raises(UnexpectedSource, match="-threads"):
        check(HELPER)


def test_where_swig_has_no_switch_the_generated_code_keeps_the_gil() -> None:
    generated = SAFE + function("_wrap_disown_Call", "Swig::Director *director = SWIG_DIRECTOR_CAST(arg1);")
    assert unsafe_wrappers(generated) == ("_wrap_disown_Call",)
    check(with_gil_kept(generated))
    assert with_gil_kept(SAFE) == SAFE
