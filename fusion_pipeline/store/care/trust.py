"""Digests that somebody noted into the refusal of every store that has another manifest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fusion_pipeline.errors import RefusedError, printable
from fusion_pipeline.store.reader import Store


def expect_manifests(stores: Iterable[Store], expected: Sequence[str]) -> None:
    """Insist that stores are those whose manifests somebody noted.

    A manifest names the sha256 of every file of its store: who has noted its digest need not trust the cache.

    Parameters
    ----------
    stores : iterable of Store
        What will be used.
    expected : sequence of str
        Digests of their manifests, with or without ``sha256:``; none asks for nothing.

    Raises
    ------
    RefusedError
        If the manifest of one is none of these; the message names the store.
    """
    noted = {digest.removeprefix("sha256:").lower() for digest in expected}
    for store in stores if noted else ():
        if store.manifest_digest.removeprefix("sha256:") not in noted:
            where = store.backend.where(f"{store.dataset}/{store.folder}")
            raise RefusedError(
                f"Store '{printable(where)}' has the manifest {store.manifest_digest}, which is not among those "
                "expected. Ask who noted them, or add it with --expect-manifest."
            )
