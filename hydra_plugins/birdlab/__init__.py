"""What birdlab adds to Hydra, where Hydra looks for it: a sweeper and launchers."""
