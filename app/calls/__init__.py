"""All calls of this process: who they are, what happened in them, and how they are found again."""
