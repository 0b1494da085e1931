"""What the outside sees of the events: subscribers, imported by nothing below."""
