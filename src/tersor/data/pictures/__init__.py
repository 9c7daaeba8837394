"""Photographs, and the usual ways to prepare pictures."""
