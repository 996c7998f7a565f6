"""Seeing what a kernel became: which layouts, how wide its memory accesses are, what it costs, and why.

    kernels.py   the kernels of a file, and what their arguments are taken to be
    build.py     one kernel through every stage, each kept, with the source's places of every line
    access.py    global memory: bytes, width of accesses, sectors a request
    shared.py    shared memory: bytes and bank conflicts, from the layouts
    loops.py     which loops are pipelined, and why the others are not
    resources.py registers, spills, threads, and how many programs fit on an SM
    hints.py     what is bad, because of what, and what would help
    report.py    all of it by source line, as data;  show.py: for a terminal;  cli.py: the command `rtriton explain`

No GPU is needed. What an access does is read off the PTX that was made for it, not derived a second time.
"""
