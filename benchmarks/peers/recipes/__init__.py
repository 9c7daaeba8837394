"""What each tool is told: one program for each, which runs in an environment of its own.

A program takes the float file, or the name of a network of the zoo, then the samples and the name
of the result. It imports nothing of Tersor, unless it is Tersor's.
"""
