"""The contract between the stages: immutable Zarr stores that a team shares.

The format, and how it is read:

layout
    which arrays a store has, and their encoding into chunks
identity
    what a store was made from, as canonical JSON and a key
manifest
    the one file that publishes a store: its attempt, and every file's length and sums
metadata
    an array's ``zarr.json`` into what it needs to be read, or a refusal
paths
    the names of what a cache holds
reader, checked, bulk
    a published store into arrays whose every byte was checked
cache, found
    a cache into its data sets and their stores, and which of them is meant where some cannot be read

What else there is:

storage
    durable files and create-if-absent, in a folder or an object store
making
    partitions, by one writer or several, into what a killed run finds again, and that into a published store
care
    stores into the list of their damage, into room, into other caches and plain arrays

``cache/README.md`` is the specification of the format.
"""

from __future__ import annotations

from fusion_pipeline.store.cache import Cache, DatasetStores
from fusion_pipeline.store.reader import Store, StoreRef

__all__ = ["Cache", "DatasetStores", "Store", "StoreRef"]
