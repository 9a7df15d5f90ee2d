"""What generates: plugins of `buf generate` and the scripts around them."""
