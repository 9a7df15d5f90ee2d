"""What `buf breaking` cannot see: whether the rules, routes, errors and policies of a contract broke its users."""
