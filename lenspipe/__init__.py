"""lenspipe: find and model galaxy-scale strong gravitational lenses in survey images."""

__version__ = "0.1.0"
