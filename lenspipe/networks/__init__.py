"""Networks: preprocessing layers, architectures and losses. Keras only, any backend."""
