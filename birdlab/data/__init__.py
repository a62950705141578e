"""Samples: data sets, splits, the decode-once cache, augmentation, and the DataModules.

Nothing is imported here: the processes that decode samples need no Lightning, and start in half the time.
"""
