"""The OpenAI-compatible HTTP server and the command line.

    protocol    what a request may say, and what an answer looks like
    link        requests of this process <-> the engine core's process
    detokenize  token ids -> text pieces, stop strings
    stream      one generator of deltas, streamed as events or folded into one answer
    app         routes, errors, disconnects, drain
    cli         rtriton serve | generate | bench | doctor | demo

Importing `server` imports nothing heavy; `server.app` needs the `serve` extra.
"""
