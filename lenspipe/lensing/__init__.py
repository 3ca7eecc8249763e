"""Gravitational lensing and light profiles as pure functions on Keras tensors."""
