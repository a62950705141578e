"""What a practitioner would do first: a linear head on what a trained network says of recordings."""
