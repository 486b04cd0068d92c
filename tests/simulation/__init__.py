"""A seeded simulation of the core (design 10): the real domain, group commit, projector, relay and worker, over fakes.

One integer decides everything: who is killed when, what is lost, late, twice or in another order. The same integer
gives the same run, step by step; nothing here asks the machine's clock, its random numbers or the address of an object.

    loop.py       virtual time, processes that can be killed or stopped between any two steps, threads without threads
    chances.py    what goes wrong, and when: drawn from the seed
    log.py        the database of the event log        broker.py   queues        view.py   the read models' store
    portal.py     job portals                          users.py    who submits, retries and cancels
    watch.py      what must be true after every step, and at the end
    world.py      puts them together                   run.py    one seed        __main__.py  `make simulate`
    planted.py    bugs that are put into the real code, and must be found
"""
