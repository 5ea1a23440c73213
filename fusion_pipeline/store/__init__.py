"""The contract between the stages: immutable Zarr stores that a team shares.

layout
    which arrays a store has, and their encoding into chunks
identity
    what a store was made from, as canonical JSON and a key
manifest
    the one file that publishes a store: its attempt, and every file's length and sha256
metadata
    an array's ``zarr.json`` into what it needs to be read, or a refusal
backend
    durable files and create-if-absent on the storage below a cache
writer
    partitions into an attempt, an attempt into a published store
reader
    a published store into arrays whose every byte was checked
checked
    the files of an attempt as a Zarr store that checks them
cache
    a cache folder into its data sets and their stores
verify
    a published store into a list of its damage
selection
    what a user names of a cache into the published stores that are meant
transfer
    published stores of one cache into the same stores of another
trust
    digests that somebody noted into the refusal of other manifests

``cache/README.md`` is the specification of the format.
"""

from __future__ import annotations

from fusion_pipeline.store.cache import Cache, DatasetStores
from fusion_pipeline.store.reader import Store, StoreRef

__all__ = ["Cache", "DatasetStores", "Store", "StoreRef"]
