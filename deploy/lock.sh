#!/bin/sh
# Pin every dependency with its hashes, for Python 3.11 to 3.13 at once, without index addresses.
# Usage: deploy/lock.sh UV
set -eu
lock() {
    target=$1
    shift
    "$uv" pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-emit-find-links --no-header --group build "$@" -o "deploy/requirements/$target.txt"
}
uv=$1
everything="--extra listen --extra speak --extra plot --extra deepgram --extra anthropic --extra openai --extra elevenlabs --extra redis --extra seal"
# shellcheck disable=SC2086 # several words are meant
lock run $everything
# shellcheck disable=SC2086
lock ears $everything --extra ears
# shellcheck disable=SC2086
lock dev $everything --extra ears --extra dev
