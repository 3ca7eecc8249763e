"""Training, prediction, metrics and calibration of the networks."""
