"""Simulated scenes: populations, their truth, and their images."""
