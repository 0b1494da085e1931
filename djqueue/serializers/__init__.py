"""What the columns of arguments, results and errors hold, and how it gets there and back.

========= ==============================================================
values    JSON text with Celery's extra types
formats   the serializers by name: json, msgpack, yaml, pickle, yours
rules     what the settings allow, and the codec
wrappers  what stands in a column for bytes
handed_on what the database makes of results for a later step
payloads  arguments and results
errors    exceptions as data
========= ==============================================================
"""

from __future__ import annotations

from .errors import MESSAGE_MAX_CHARACTERS as MESSAGE_MAX_CHARACTERS
from .errors import TRACEBACK_MAX_CHARACTERS as TRACEBACK_MAX_CHARACTERS
from .errors import decode_error as decode_error
from .errors import encode_error as encode_error
from .errors import format_traceback as format_traceback
from .errors import stored_traceback as stored_traceback
from .formats import register_serializer as register_serializer
from .handed_on import describe as describe
from .payloads import decode_arguments as decode_arguments
from .payloads import decode_result as decode_result
from .payloads import encode_arguments as encode_arguments
from .payloads import encode_result as encode_result
from .rules import Codec as Codec
from .rules import check_serializer as check_serializer
from .values import decode as decode
from .values import encode as encode
