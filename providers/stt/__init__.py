"""Who listens: one recogniser, one file."""
