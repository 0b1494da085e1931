"""A module of tasks that cannot be imported; only the tests that want this name it."""

raise LookupError("the lemons are sold out")
