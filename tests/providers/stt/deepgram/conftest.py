"""The SDK is imported by the adapter first, which knows what it warns of."""

import providers.stt.deepgram  # noqa: F401 - imported for what it does
