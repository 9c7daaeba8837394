"""A budget of work for six small jobs; see `__main__`."""
