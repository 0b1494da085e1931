"""Control: questions and orders to running workers, pauses, and what becomes of tasks that are enqueued already.

========= ==============================================================
catalogue the commands there are, and your own by decorator
asking    send a command, and wait for the replies
questions ``inspect()``, as Celery's
pausing   pause and resume queues, tasks and keys
orders    what changes running workers
site      questions that are answered where the site is loaded
limiting  rate limits
revoking  cancel tasks
purging   drop what waits in line
========= ==============================================================
"""

from __future__ import annotations

from . import site as site
from .asking import Replies as Replies
from .asking import ReplyList as ReplyList
from .asking import broadcast as broadcast
from .catalogue import WorkerState as WorkerState
from .catalogue import control_command as control_command
from .catalogue import inspect_command as inspect_command
from .limiting import rate_limit as rate_limit
from .orders import add_consumer as add_consumer
from .orders import autoscale as autoscale
from .orders import cancel_consumer as cancel_consumer
from .orders import ping as ping
from .orders import pool_grow as pool_grow
from .orders import pool_shrink as pool_shrink
from .orders import quiet as quiet
from .orders import shutdown as shutdown
from .orders import time_limit as time_limit
from .pausing import FOREVER as FOREVER
from .pausing import pause as pause
from .pausing import paused as paused
from .pausing import resume as resume
from .purging import purge as purge
from .questions import Inspect as Inspect
from .questions import inspect as inspect
from .revoking import revoke as revoke
from .revoking import revoke_by_stamped_headers as revoke_by_stamped_headers
from .revoking import signal_number as signal_number
from .revoking import terminate as terminate
