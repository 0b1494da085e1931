"""The worker: one asyncio loop that talks to the queue, and executors in which user code runs.

::

    manage.py runworker ── Worker: claims, settles, renews its lease, listens, obeys; runs no user code
                              │ socket pairs, frames of several tasks and outcomes
                              ├─ executor   forked from a fork server that has the site loaded
                              └─ executor

A task's way: ``loop`` → ``store.claim`` → ``pool`` → ``executor`` → ``runner`` → ``pool`` → ``store.settle``.
"""
