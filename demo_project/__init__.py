"""The demonstration project: djqueue doing real work, with no set-up."""
