"""The vendors' protocols with a stopwatch in place of a mind, lean enough for hundreds of calls in one process.

What the vendors' faithful fakes (`tests/fakes`) check is not checked here; what they do not keep is kept here: time.
"""
