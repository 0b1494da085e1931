"""Beat: fires schedules. Any number of beats may run at once; each slot fires once.

``beat.py`` waits, ``firing.py`` fires what is due in one transaction, ``decide.py`` decides without a database,
``sync.py`` brings declared schedules into the database, ``start.py`` makes a process of it.
"""
