"""Files in and out: FITS images, HDF5 shards, tables, the run directory. Nothing here knows science."""
