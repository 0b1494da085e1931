"""The subcommands of ``manage.py djqueue``: one module each, with ``HELP``, ``add_arguments`` and ``run``."""
