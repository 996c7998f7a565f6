"""The OpenAI-compatible HTTP server and the command line.

    protocol, conversation, sampling, constraints, offer, strict
                what a request may say; replies says what is answered, for the OpenAPI page
    prepare     a request -> prompts, sampling parameters, a grammar; talk and submits do what endpoints have in common,
                text and grammar the work
    link        requests of this process <-> the engine core's process
    choice      token ids -> deltas of text, calls, log probabilities; detokenize and calls (call_formats) do
                the work
    stream      one generator of deltas, streamed as events or folded into one answer (answers)
    responses   OpenAI's Responses API: _input and _output are its items, _answer their events, _replies its page
    app, routes life cycle, errors, disconnects; one function a route
    metrics     what is counted
    batch       a file of requests through the same functions, without HTTP; batch_file has its lines
    cli         rtriton serve | generate | batch | bench | doctor | demo
    bench       rtriton bench serve | lifecycle: load for any server of this API

Importing `server` imports nothing heavy; `server.app` needs the `serve` extra.
"""
