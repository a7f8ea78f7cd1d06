"""The embedded language model: a conversation led by a dialogue file (TOML), with no cloud and no key.

`phrases` is the notation for what callers say, `tables` the file's format and `file` its loading; `understanding`
finds out what a caller wants, `policy` decides what follows from it, `model` streams it. `dialogues/` holds the demo.
"""

from providers.llm.dialogue.file import DEMO, DialogueFileError, load
from providers.llm.dialogue.model import Dialogue, create

__all__ = ["DEMO", "Dialogue", "DialogueFileError", "create", "load"]
