"""What happens beside training: looking after the loss, pictures, progress."""
