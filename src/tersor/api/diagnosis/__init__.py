"""What `diagnose` looks at, one trade a file."""
