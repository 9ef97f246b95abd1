"""Cases drawn on somebody else's server: its HTTP API is all that is known of it.

`target` says which server, `body` what is sent, `client` speaks HTTP, `exchange` brings one request from sending to
file, `evidence` says how each finding is known, `run` makes a result of it.
"""
