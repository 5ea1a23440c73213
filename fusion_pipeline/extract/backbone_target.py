"""The store of one backbone, as one that an extraction ends with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from fusion_pipeline.extract import producers
from fusion_pipeline.extract.engines.before import as_before
from fusion_pipeline.extract.engines.choice import choose_engine, describe_device, is_worth_compiling
from fusion_pipeline.extract.engines.probe import batch_drift, probe_deviation
from fusion_pipeline.extract.loading.preparation import NetworkInput, Preparation
from fusion_pipeline.extract.networks.backbones import Backbone
from fusion_pipeline.extract.networks.network import Network, build_network, find_preprocessing, with_trained_arguments
from fusion_pipeline.extract.networks.taps import tap_rule
from fusion_pipeline.extract.networks.weights import checked_sha256, lasting_name, locate_weights
from fusion_pipeline.extract.plan import Plan
from fusion_pipeline.extract.targets import Target
from fusion_pipeline.images.decode import DecodeBudget
from fusion_pipeline.images.listing import ImageListing
from fusion_pipeline.store.care.semantic import softmax_deviation
from fusion_pipeline.store.identity import Recipe
from fusion_pipeline.store.layout import ArraySpec


class BackboneTarget(Target):
    """The store of one backbone.

    Parameters
    ----------
    backbone : Backbone
        The network.
    dtype : {"float16", "float32"}
        How features are stored.
    plan : Plan
        How it is run.
    budget : DecodeBudget
        What an image may cost.
    tell : callable
        Takes a line for people.
    """

    kind = "backbone"

    def __init__(
        self,
        backbone: Backbone,
        dtype: str,
        plan: Plan,
        budget: DecodeBudget,
        tell: Callable[[str], object] = lambda _line: None,
    ) -> None:
        super().__init__(budget)
        self.name = backbone.name
        self._dtype = dtype
        self._plan = plan
        self._tell = tell
        # In this order: who misspells a model must not be asked for its weights.
        self._preprocessing = find_preprocessing(backbone)
        self._backbone = with_trained_arguments(backbone)
        self._tap = tap_rule(self._backbone)
        self._weights = locate_weights(backbone)
        self._weights_sha256 = checked_sha256(backbone, self._weights)

    @property
    def recipe(self) -> Recipe:
        """How the features are made, whatever the images."""
        return producers.backbone_recipe(
            self._backbone,
            self._preprocessing,
            self._weights_sha256,
            self._dtype,
            self._budget,
            self._plan.precision,
            self._tap,
        )

    @cached_property
    def producer(self) -> producers.BackboneProducer:
        """Who makes its rows; network and engine are built when they are first needed."""
        engine = choose_engine(
            self.name,
            self._network,
            self._preprocessing,
            as_before(self._plan, str(describe_device(self._plan.device)["device"]), self._made_already()),
            images=self._to_compute,
            tell=self._tell,
        )
        return producers.BackboneProducer(self.name, self._preprocessing, engine)

    @property
    def worth_compiling(self) -> bool:
        """Whether the whole work is long enough to compile the network; known once it has learnt what others have."""
        return is_worth_compiling(self._network.multiply_adds, max(self._to_compute, 0))

    @property
    def preparation(self) -> Preparation:
        """What resizes and crops its images."""
        return NetworkInput.of(self._preprocessing)

    def specs(self, folder: ImageListing) -> tuple[ArraySpec, ...]:  # noqa: ARG002 - an index needs it
        """Return the arrays of the backbone."""
        return producers.backbone_specs(self._network, self._dtype)

    def whole_arrays(self, sha256: Sequence[str]) -> Mapping[str, np.ndarray]:  # noqa: ARG002 - an index needs it
        """Return the network's head."""
        return self._head

    def told(self, arrays: Mapping[str, np.ndarray]) -> Mapping[str, Any]:
        """Return how far the stored probabilities are from the softmax of the head on the stored features."""
        deviation = softmax_deviation({**arrays, **self._head})
        return {} if deviation is None else {"softmax_deviation": deviation}

    def measured(self) -> Mapping[str, float]:
        """Return how far the stored features are from those of a plain float32 network on a CPU."""
        if "producer" not in vars(self):  # it was never needed
            return {}
        engine = self.producer.engine
        return {
            "deviation": probe_deviation(self._network, self._preprocessing, engine, self._dtype),
            "batch_drift": batch_drift(self._preprocessing, engine),
        }

    def made_with(self) -> Mapping[str, Any]:
        """Return the engine, how many images it took at a time, and what else it chose."""
        return self.producer.engine.made_with() if "producer" in vars(self) else {}

    def source(self) -> Mapping[str, Any]:
        """Return the model and where its weights were: of the hub, the repository and the commit."""
        backbone = self._backbone
        weights = lasting_name(backbone, self._weights)
        return {"model": backbone.model, "weights": weights, "in_order": backbone.in_order}

    def _made_already(self) -> Iterator[Mapping[str, Any]]:
        """Yield with what the rows were made that the attempt has, and those of the store that is mended."""
        if self._attempt is not None:
            yield from (record.made for _, record in self._attempt.records())
        if self._damaged is not None and self._damaged.store is not None:
            yield self._damaged.store.manifest.made

    @cached_property
    def _head(self) -> Mapping[str, np.ndarray]:
        return producers.head_arrays(self._network)

    @cached_property
    def _network(self) -> Network:
        return build_network(self._backbone, self._weights, self._preprocessing.input_size, self._weights_sha256)
