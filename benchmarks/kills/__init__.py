"""Kills long jobs at random moments: nothing is lost, and nothing is left behind."""
