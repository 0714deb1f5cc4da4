"""Benchmarks as ratios against floors that were measured in the same run: ``./dev bench``."""
