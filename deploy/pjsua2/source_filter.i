/* SourceFilter as Python sees it. */
%{
#undef THIS_FILE
#define THIS_FILE "source_filter.i"
#include "source_filter.h"
using pj::SourceFilter;

/* [(address, requests), ...]; the lock is held for no longer than a swap. */
static PyObject *SourceFilter_take_refused() {
    const std::map<std::string, unsigned long> taken = sidetone::Gate::the().refused();
    PyObject *all = PyList_New(0);
    for (std::map<std::string, unsigned long>::const_iterator it = taken.begin(); all && it != taken.end(); ++it) {
        PyObject *row = Py_BuildValue("(sk)", it->first.c_str(), it->second);
        if (!row || PyList_Append(all, row) != 0)
            Py_CLEAR(all);
        Py_XDECREF(row);
    }
    return all;
}
%}

%nothread pj::SourceFilter::refused;

namespace pj {
class SourceFilter {
public:
    static void admit(const std::vector<std::string> &networks, bool certified) throw(pj::Error, std::invalid_argument);
    %extend {
        static PyObject *refused() { return SourceFilter_take_refused(); }
    }
};
}
