"""Keeps entries of users."""
