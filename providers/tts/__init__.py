"""Speaks: one file per vendor, and the embedded voice."""
