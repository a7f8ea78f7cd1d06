"""Listens, thinks and speaks: one adapter per vendor behind three Protocols, and the embedded ones."""
