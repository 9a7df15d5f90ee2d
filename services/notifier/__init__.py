"""Tells users what becomes of their orders."""
