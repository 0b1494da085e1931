"""An app whose command has the name of one of ours."""
