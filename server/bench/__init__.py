"""`rtriton bench serve` and `lifecycle`: load for any server that speaks OpenAI's API, and what its clients saw.

    prompts     what request number i says
    load        when requests begin: open loop (Poisson) or closed loop
    answer      what comes of one streamed answer, event by event
    client      one streamed request over HTTP -> a Record
    run         all of a run: warm-up, load, records
    report      records -> a Report; show prints it, plot draws it
    life        a server from its launch to its end, by phase
    cli, cli_life
                the two commands, which server/cli.py mounts

Nothing here knows rtriton's own server, so that others are measured with the same tool.
"""
