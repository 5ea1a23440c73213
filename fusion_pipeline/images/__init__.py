"""Turns labelled images into rows in a stable order and each image into upright RGB pixels.

=================  ==============================================================================
``listing``        labelled images -> a listing (row order, sample ids, labels, splits, places, digests)
``index``          a folder of class folders -> a listing
``manifests``      a CSV, TSV or Parquet table -> a listing
``shards``         tar files -> a listing
``shard_labels``   the files of tar shards -> the labels beside the images
``archives``       a tar file -> the files in it
``datasets``       the official archives of the paper's data sets -> a listing
``inputs``         any of these -> a listing
``links``          a place below a folder -> whether a symbolic link leads there
``walk``           a tree of folders -> the image names below it
``decode``         a file's bytes -> upright RGB pixels, or the reason why there are none
``colour``         an image in any colour mode -> upright RGB, by a documented table
``thumbnails``     an RGB image -> the small squares that gates and reports look at
``quiet``          Pillow's warnings -> silence, whichever threads decode
=================  ==============================================================================

Nothing here loads torch, and nothing here opens a file twice.
"""
