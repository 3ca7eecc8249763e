"""Running stages: the runner decides what is missing, an executor does it. The only home of Dask."""
