"""The front door: carrier webhooks, media websockets, and who may come in."""
