"""Proof by faults: whatever goes wrong on the way to a model, a call ends in time, typed, with nothing lost.

How to write a row
------------------
A row is a `Row` in the tuple `ROWS` of any module of this package; the table finds it there (`table.py`). It says what
the server does and what must come of it, and nothing about how the model is asked: that is the business of the twelve
ways (`ways.py`): by blocking, on asyncio, on trio; as a whole or streamed; plain or inside `run_tools`.

::

    Row(
        "503 twice",                                   # unique; it also draws the way in which CI runs the row
        (status(503), status(503), hello),             # one act for each request; the last one goes on for ever
        Answers("Hello", requests=3),                  # or Fails(ServerFailed, "HTTP 503", requests=3)
    )

*Acts* are tuples of pieces, done one after another once a request has come: bytes are sent as they are; `Drip`,
`Again`, `Pause`, `STALL`, `RESET`, `CLOSE`, `LEAVE`, `RELAY` do what they say (`server.py`). Where an act ends without
closing, the connection is kept. An act may also be a function of what was `Asked`, so that it can answer a stream to
whom wants a stream: `hello` and `says("words")` do, `either(whole, streamed)` makes one of two. `status(503, header)`
is an act; `body(…)`, `sent(…)` and `chunk(…)` of `tests.badinput.ways` make bytes. *greets* is done before a request is
read, and instead of TLS.

*Inside `run_tools`* the server first calls the tool `weather` by itself and counts no request for it; `before=False`
leaves that out, for rows in which no round can come before, or which bring *tools* of their own. *reused* is how often
more a request comes where its connection had served before: what breaks at once there is asked again on a fresh one.

*What comes of it* may differ where the reply is streamed: `streamed=Fails(…)`. `only="whole"`, `"stream"`, `"tools"` or
`"plain"` names the ways in which the row makes sense, if not all. *options* configure the model (`OPTIONS` of `rows.py`
where a row does not say: two retries without a wait, little time, a small `max_body=`), *run* the call of `run_tools`,
*environ* the process, *address* where the model is, if not at the server; *other* is a second server (where a redirect
leads, or a proxy), *check* looks at whatever else there is to see. With *times*, the same is asked again in the same
world, after *between*, and the last time counts. A row whose model has little time, or whose tools have (*hurried*),
is run again at a slower pace where the machine could not keep up.

What holds for every row is not said in any: it ends within *seconds*; the error is one of ours, can be pickled and
shows no key; its `partial` holds the words that came and the rounds before; nothing is told twice; all tries of one
question carry one idempotency key; each connection that is not kept is closed; no thread, socket or task is left; with
`memory=True` it takes at most twice `max_body`.

A row that the product does not pass has `wrong="why"`: it is then expected to fail, strictly, and stands in the report.
"""
