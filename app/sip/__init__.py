"""Calls over SIP trunks: which are let in, which may be placed, and how a SIP dialog becomes a call's session."""
