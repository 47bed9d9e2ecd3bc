"""Making content encoders from checkpoints, and item features with them."""
