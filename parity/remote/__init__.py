"""Cases generated on somebody else's server, of which only the HTTP API is known.

`client` speaks HTTP, `answers` reads what the server sent, `exchange` brings one request from sending to file, `run`
compares that file.
"""
