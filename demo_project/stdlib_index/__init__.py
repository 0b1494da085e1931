"""An index of Python source files, built by one task per file."""
