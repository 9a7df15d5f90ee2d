"""What every service is built on. It knows the contract's options and no service."""
