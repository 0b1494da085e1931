"""The canvas: signatures, and how they are joined to workflows."""

from .chains import Chain, chain
from .chords import chord
from .groups import group
from .maps import chunks, xmap, xstarmap
from .signatures import Signature, maybe_signature, signature, subtask
from .stamping import StampingVisitor

__all__ = [
    "Chain",
    "Signature",
    "StampingVisitor",
    "chain",
    "chord",
    "chunks",
    "group",
    "maybe_signature",
    "signature",
    "subtask",
    "xmap",
    "xstarmap",
]
