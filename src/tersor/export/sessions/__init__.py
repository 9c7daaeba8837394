"""Runtimes on this machine: sessions, their clocks, and what the CPU can do."""
