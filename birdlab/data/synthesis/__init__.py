"""Soundscapes made from numbers: bird voices, backgrounds, the air between, and where the birds are."""
