"""Measurements. Run them with `make bench`; the figures are in docs/performance.md."""
