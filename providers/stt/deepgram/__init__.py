"""Deepgram: live recognition (`/v1/listen`) and Flux (`/v2/listen`), through the vendor's SDK.

`provider` (the adapter), `settings` (its variables), `recognition` (one connection: sending, listening, answering),
`outgoing` (the audio that waits to be sent), `live` and `flux` (what the two protocols mean), `batch` (a whole
utterance at once), `vendor` (the SDK and its errors).
"""

from providers.stt.deepgram.provider import Deepgram, create

__all__ = ["Deepgram", "create"]
