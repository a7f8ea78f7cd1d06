"""The other end of the line: a faithful fake of Twilio, and a caller who follows a script.

`place_call(line, script, clock)` places one call and returns what the caller heard and measured. Everything that
decides is sans-I/O (`twiml`, `wire`, `playout`, `stream`, `network`, `ear`, `caller`, `measure`, `judge`); `webhook`,
`socket`, `mediapath`, `bridge` and `call` drive it over HTTP and websockets; `terminal` shows it to a person.
Knows no provider, no app and none of the bridge's own carriers: what it believes comes from Twilio's documentation.
"""
