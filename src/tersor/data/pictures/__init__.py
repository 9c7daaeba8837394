"""Pictures: how they are read, and the usual ways to prepare them."""
