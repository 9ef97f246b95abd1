"""Videos made elsewhere: by a server, or given as a file. Their pixels are known, their recipe only in part.

`made` is such a video, `evidence` says how each finding is known, `compare` makes a result of it, `diagnose` finds
causes on this machine, `file` reads a file that a case names.
"""
