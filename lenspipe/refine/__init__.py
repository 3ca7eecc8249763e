"""From a network's posterior to a model of the pixels: an SIE with shear, a Sersic lens galaxy and a Sersic source."""
