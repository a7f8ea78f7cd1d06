"""The ring between the conference thread and asyncio loses nothing that it does not report, without a lock."""

import shutil
import subprocess
from pathlib import Path

import pytest

HEADERS = Path(__file__).parents[3] / "deploy" / "pjsua2"

# Sample n has the value n mod 251, so whatever is taken must count up; and in the end the numbers must add up.
# The reader asks for more than the ring holds, as one does who asked before how much is pending.
CHASE = r"""
#include <cstdio>
#include <thread>
#include "sample_ring.h"

using sidetone::SampleRing;

static bool counts_up(const uint8_t *samples, size_t count) {
    for (size_t i = 1; i < count; ++i)
        if (samples[i] != (samples[i - 1] + 1) % 251)
            return false;
    return true;
}

int main(int argc, char **) {
    const bool overwriting = argc > 1;
    const uint64_t all = 5000000;
    const size_t capacity = 1600;
    SampleRing ring(capacity);
    uint64_t written = 0, dropped = 0, taken = 0, torn = 0, beyond = 0;
    bool overran = false;
    std::atomic<bool> over(false);
    std::thread reader([&] {
        std::vector<uint8_t> samples(64 * capacity);
        for (;;) {
            const bool last = over;
            beyond += ring.pending() > capacity;
            const size_t count = ring.take(samples.data(), samples.size());
            beyond += count > capacity;
            taken += count;
            torn += !counts_up(samples.data(), count);
            if (last && !count)
                return;
        }
    });
    for (unsigned turn = 1; written < all; ++turn) {
        uint8_t samples[160];
        for (size_t i = 0; i < sizeof samples; ++i)
            samples[i] = static_cast<uint8_t>((written + i) % 251);
        if (overwriting) {
            overran |= ring.append_over_oldest(samples, sizeof samples);
            written += sizeof samples;
        } else {
            written += ring.append(samples, sizeof samples);
            if (turn % 97 == 0)
                dropped += ring.drop();
        }
    }
    over = true;
    reader.join();
    const bool complete = overwriting ? taken <= written && (overran || taken == written) : taken + dropped == written;
    std::printf("written %llu taken %llu dropped %llu torn %llu beyond %llu\n", (unsigned long long)written,
                (unsigned long long)taken, (unsigned long long)dropped, (unsigned long long)torn,
                (unsigned long long)beyond);
    return !(complete && torn == 0 && beyond == 0 && taken > 0 && ring.pending() == 0);
}
"""


@pytest.fixture(scope="module")
def chase(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("g++"):
        pytest.skip("no C++ compiler here")
    folder = tmp_path_factory.mktemp("ring")
    (folder / "chase.cpp").write_text(CHASE)
    compiler = ["g++", "-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", f"-I{HEADERS}"]
    subprocess.run([*compiler, "chase.cpp", "-o", "chase"], cwd=folder, check=True, timeout=60)
    return folder / "chase"


@pytest.mark.parametrize("mode", [(), ("overwriting",)], ids=["a writer who clears", "a writer who overwrites"])
def test_what_is_taken_is_whole_and_what_is_not_taken_was_dropped(chase: Path, mode: tuple[str, ...]) -> None:
    done = subprocess.run([chase, *mode], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
