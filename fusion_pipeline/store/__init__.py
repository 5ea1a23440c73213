"""The contract between the stages: immutable Zarr stores that a team shares.

The format:

layout
    which arrays a store has, and their encoding into chunks
identity
    what a store was made from, as canonical JSON and a key
manifest
    the one file that publishes a store: its attempt, and every file's length and sums
metadata
    an array's ``zarr.json`` into what it needs to be read, or a refusal

Where a cache lies:

backend, local, durable, objects, places
    durable files and create-if-absent, in a folder or an object store

Reading:

reader, checked, bulk
    a published store into arrays whose every byte was checked
cache
    a cache into its data sets and their stores

Making:

attempt, record, leases, presence, unfinished, provenance
    partitions, by one writer or several, into what a killed run finds again
known
    the sha256 of an image into its row, wherever somebody has computed it
publication
    a complete group of files into a published store

Looking after it:

verify, semantic
    stores into the list of their damage
mending
    a damaged store into what of it is still good
garbage, gc
    what nobody needs any more, into room
selection, trust
    what a user names, and what somebody noted, into stores or a refusal
transfer, migrate, export
    stores into another cache, the present format, plain arrays

``cache/README.md`` is the specification of the format.
"""

from __future__ import annotations

from fusion_pipeline.store.cache import Cache, DatasetStores
from fusion_pipeline.store.reader import Store, StoreRef

__all__ = ["Cache", "DatasetStores", "Store", "StoreRef"]
