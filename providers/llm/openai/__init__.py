"""Any server that speaks OpenAI's chat completions: OpenAI itself, vLLM, Ollama, Groq and others."""

from providers.llm.openai.model import OpenAI, create

__all__ = ["OpenAI", "create"]
