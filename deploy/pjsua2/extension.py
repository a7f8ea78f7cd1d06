"""The setup script of the extension module, run by `build` beside the generated wrapper and `extension.json`."""

import json
from pathlib import Path

from setuptools import Extension, setup

told = json.loads(Path("extension.json").read_text())
setup(
    name="pjsua2",
    version=told["version"],
    description="pjsua2 with audio rings, built for Sidetone",
    py_modules=["pjsua2"],
    ext_modules=[
        Extension(
            "_pjsua2",
            ["pjsua2_wrap.cpp"],
            language="c++",
            # The wrapper is 150 000 lines of argument checks: optimising them doubles the build and gains nothing.
            extra_compile_args=[*told["cflags"], "-std=c++17", "-O1", "-g0"],
            extra_link_args=[*told["ldflags"], *(f"-l{library}" for library in told["libs"])],
        )
    ],
)
