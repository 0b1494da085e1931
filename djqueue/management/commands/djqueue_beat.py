"""``manage.py djqueue_beat``: ``runbeat`` under a name that no other app has."""

from .runbeat import Command

__all__ = ["Command"]
