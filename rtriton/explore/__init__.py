"""`rtriton explore`: a local web page that shows what a kernel becomes, each line linked through all stages.

    page.py     what the page shows of a kernel, as data;  worker.py: makes it, in a process of its own
    app.py      the HTTP application;  local.py: only this machine's browser is answered, nothing is loaded from outside
    serve.py    listens on the loopback interface;  cli.py: the command
    static/     the page: plain ES modules and style sheets, no build step

User code (the file that defines the kernel) runs in the worker alone, anew for each page: a changed file is read anew
with everything it imports, and what goes wrong there is a message on the page.
"""
