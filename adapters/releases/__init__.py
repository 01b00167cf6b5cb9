"""Fetch, persist and announce releases."""
