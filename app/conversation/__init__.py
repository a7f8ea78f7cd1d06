"""One call's conversation: who has the floor, what was said, and the session that performs it."""
