"""Samples as users give them: files, folders, arrays, loaders and code of their own."""
