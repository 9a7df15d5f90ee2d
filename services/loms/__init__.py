"""LOMS: orders and stock."""
