"""Inputs as people have them: photographs, rendered text, speech, music, files and reactions."""
