"""The carts of the users."""
