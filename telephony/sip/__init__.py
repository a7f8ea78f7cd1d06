"""SIP and RTP: trunks, calls, and the leg that a SIP call gives the conversation. Carries out; decides no policy.

`settings` says what to connect to, `events` what is told, `contracts` what may be asked; `endpoint` does it.
"""
