"""Cases generated on somebody else's server, of which only the HTTP API is known.

`client` speaks HTTP, `answers` reads what the server sent, `exchange` brings one request from sending to file,
`evidence` says how each finding is known, `diagnose` finds causes with the server's help, `run` makes a result of it.
"""
