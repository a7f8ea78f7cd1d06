"""Claude over the Anthropic Messages API (https://platform.claude.com/docs/en/build-with-claude/streaming)."""

from providers.llm.anthropic.model import Anthropic, create

__all__ = ["Anthropic", "create"]
