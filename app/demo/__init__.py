"""The demo that a new installation answers with: an appointment desk."""
