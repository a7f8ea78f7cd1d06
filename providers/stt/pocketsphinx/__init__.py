"""The embedded recogniser: PocketSphinx, told what to expect by the active dialogue, in processes of its own.

In the bridge: `provider` (the adapter), `host` (one worker process, kept alive), `recognition` (one call).
Between: `wire`. In the worker: `worker` (the loop), `call` (one call's audio), `gate` (what is worth decoding),
`decoding` (two decoders that must agree), `automaton` (their grammar, made small).
"""

from providers.stt.pocketsphinx.provider import PocketSphinx, create

__all__ = ["PocketSphinx", "create"]
