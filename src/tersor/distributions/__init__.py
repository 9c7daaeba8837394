"""What is known of the values of a network without data: rules for each op, propagation."""
