"""The GPU kit: everything that only a GPU can tell, measured by one command on a bare machine.

    python -m benchmarks.gpu --list
    python -m benchmarks.gpu [--wheels DIR] [--only 3,5] [--minutes 9] [--out DIR]

`plan.py` lists the sections, `supervise.py` runs them one after the other in a worker process, `record.py` keeps what
they measured: results.json and table.md are written after every figure, so that a kit that is stopped loses nothing.
"""
