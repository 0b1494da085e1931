"""A receiver that does not come back."""

import time

from djqueue import signals


@signals.heartbeat_sent.connect
def hangs(**kwargs: object) -> None:
    time.sleep(600)
