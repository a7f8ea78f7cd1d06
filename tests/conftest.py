"""Property tests have no deadline for an example: how long one takes is the machine's business."""

from hypothesis import settings

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
