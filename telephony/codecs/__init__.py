"""Turns one audio format into another: G.711, sample rates, and both in one `Transcoder`."""
