"""A small site whose tasks behave well, badly and fatally."""
