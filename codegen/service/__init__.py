"""Begins a new service, in the style of the others, and takes it away again."""
