"""Images: what a telescope does to the sky, and what is done with its pixels."""
