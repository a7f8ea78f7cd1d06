"""Deepgram: live recognition (`/v1/listen`) and Flux (`/v2/listen`), through the vendor's SDK.

`provider` (the adapter), `settings` (its variables), `recognition` (one call: sending, listening, reconnecting),
`backlog` (the audio that is not settled yet), `live` and `flux` (what the two protocols mean), `vendor` (the SDK and
its errors).
"""

from providers.stt.deepgram.provider import Deepgram, create

__all__ = ["Deepgram", "create"]
