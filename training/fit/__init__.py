"""The loop that every gradient-trained model goes through: validation, early stopping, checkpoints, resume."""
