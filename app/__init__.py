"""Decides: the conversation, its calls, and the only folder that knows the web framework."""
