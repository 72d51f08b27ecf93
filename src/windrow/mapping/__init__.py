"""Any function over many items, in worker processes or threads: what `Pool.map` and `Process` are used for.

    api          the public names: map, submit, Workers                  caller's thread
    course       one map call: feeding items, putting results in order   caller's thread
    durable      what a map with a store remembers, key by key
    progress     a bar on a terminal, lines elsewhere
    supervisor   hands stretches of items to workers, minds deaths, time-outs, retries   one thread
    backlog      what waits to be handed out, and batches of it          pure
    orders       what the supervisor works for: a map or a submitted call
    stretches    runs of items, and how many of them make a batch        pure
    members      one worker, as the supervisor sees it: a process or a thread
    forking      worker processes in milliseconds, where a fork is safe
    messages     what a supervisor and a worker process say, as bytes
    worker       what a worker process does
    execution    a batch of items, run one after the other               in the worker
    functions    how a function and its values get from one process to another
    frames       length and bytes over a socket
    outcomes     results and errors, as the caller sees them

This package imports nothing of its own, so that a worker process starts with little to load.
"""
