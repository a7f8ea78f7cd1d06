"""Language models: one file per vendor, and the embedded dialogue."""
