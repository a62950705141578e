"""From recordings to masks, clean sound and selection tables.

Only `run_network` imports torch: an exported network brings its own front end, and everything around it needs
numpy, soundfile and soxr (and OpenCV for pictures).
"""
