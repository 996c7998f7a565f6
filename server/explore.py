"""The command `rtriton explore`: server/cli.py mounts it. The compiler is imported when it is called."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from server.explain import Kernel, Rest, Run, Sig, TargetName, refused

Port = Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one and says which.")]
Open = Annotated[bool, typer.Option("--open", help="Open the page in the browser.")]


def explore(
    kernel: Kernel,
    arguments: Rest = None,
    sig: Sig = "",
    target: TargetName = "sm_90a",
    run: Run = False,
    port: Port = 8017,
    open_page: Open = False,
) -> None:
    """Show in a browser what a kernel becomes: source, IR after each pass, PTX and SASS, linked line by line."""
    import webbrowser

    from rtriton.explore.app import Session
    from rtriton.explore.serve import bind, server, url_of
    from rtriton.target import TARGETS

    file, _, name = kernel.partition("::")
    if not Path(file).is_file():
        raise refused("explore", f"there is no file {file}")
    if target not in TARGETS:
        raise refused("explore", f"there is no target {target!r}; there are {', '.join(TARGETS)}")
    try:
        listener = bind(port)
    except OSError as error:
        why = f"port {port} cannot be listened on: {error.strerror}; --port 0 takes a free one"
        raise refused("explore", why) from None
    url = url_of(listener)

    def ready() -> None:
        print(f"{kernel} at {url}   (Ctrl-C ends)", flush=True)
        if open_page:
            webbrowser.open(url)

    session = Session(Path(file).resolve(), name, sig, target, list(arguments or ()) if run else None)
    asyncio.run(server(session, ready).serve(sockets=[listener]))
