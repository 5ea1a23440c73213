"""Every engine gives what the plain network gives, in parts that fit into memory."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch._inductor.config as inductor

from fusion_pipeline.errors import ClusterError, UsageError
from fusion_pipeline.extract.engines import choice, compiled
from fusion_pipeline.extract.engines.before import as_before
from fusion_pipeline.extract.engines.choice import choose_engine, is_worth_compiling
from fusion_pipeline.extract.engines.compiled import CompiledEngine, NotCompiledError
from fusion_pipeline.extract.engines.cuda import CudaEngine
from fusion_pipeline.extract.engines.eager import EagerEngine
from fusion_pipeline.extract.engines.engine import Engine, Outputs
from fusion_pipeline.extract.engines.probe import batch_drift, probe_deviation
from fusion_pipeline.extract.networks.backbones import Preprocessing
from fusion_pipeline.extract.plan import Plan
from tests.builders import Tiny
from tests.extract.engines.made import built, difference, pretend_gpu, some_images

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


class Cramped(Engine):
    """An engine whose device has room for so many images."""

    name = "cramped"

    def __init__(self, room: int, error: Callable[[], BaseException], **options: Any) -> None:
        self.room, self.error = room, error
        self.launched: list[int] = []
        super().__init__(*_nothing(), **options)

    def _launch(self, images: np.ndarray) -> Callable[[], Outputs]:
        if len(images) > self.room:
            raise self.error()
        self.launched.append(len(images))
        return lambda: (images.mean(axis=(1, 2, 3))[:, None], None)


def _nothing() -> tuple[Any, Preprocessing]:
    return None, Preprocessing(8, 1.0, "bilinear", (0.5,) * 3, (0.5,) * 3)


@pytest.mark.parametrize(
    "error",
    [
        lambda: torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError,
        lambda: RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
        lambda: RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        lambda: RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
)
def test_a_batch_that_does_not_fit_is_halved(error: Callable[[], BaseException]) -> None:
    told: list[str] = []
    engine = Cramped(3, error, batch_size=16, tell=told.append)
    images = np.random.default_rng(0).integers(0, 256, (20, 3, 8, 8), dtype=np.uint8)
    features, probabilities = engine.forward(images)
    assert np.array_equal(features, images.mean(axis=(1, 2, 3))[:, None])
    assert probabilities is None
    assert engine.launched == [2] * 10
    assert engine.batch_size == 2
    assert told == [f"cramped: {many} images do not fit into memory; going on with {many // 2}." for many in (16, 8, 4)]


def test_one_image_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(ClusterError, match="No memory left on the device for one image of 8 pixels"):
        Cramped(0, MemoryError, batch_size=2).forward(np.zeros((2, 3, 8, 8), np.uint8))


def test_memory_is_given_back_once_nothing_holds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error holds the activations of the batch that did not fit, as long as it is being handled."""

    class Holding(Cramped):
        def _launch(self, images: np.ndarray) -> Callable[[], Outputs]:
            activations = torch.zeros(len(images))
            held.append(weakref.ref(activations))
            return super()._launch(images)

    held: list[weakref.ref[torch.Tensor]] = []
    given_back: list[bool] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: given_back.append(held[-1]() is None))
    Holding(1, MemoryError, batch_size=4).forward(np.zeros((4, 3, 8, 8), np.uint8))
    assert given_back == [True, True]


def test_other_failures_are_not_taken_for_lack_of_memory() -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        Cramped(0, lambda: RuntimeError("shapes do not fit"), batch_size=2).forward(np.zeros((2, 3, 8, 8), np.uint8))


class Rated(CudaEngine):
    """An engine for a GPU that runs so many images a second, by batch; any other batch does not fit into its memory."""

    def __init__(self, rates: dict[int, float], batch_size: int) -> None:
        Engine.__init__(self, *_nothing(), batch_size=batch_size)
        self._layout = ""
        self._network = SimpleNamespace(module=torch.nn.Identity())  # type: ignore[assignment]
        self._rates = rates
        self._tune()

    def _rate(self, images: np.ndarray) -> float:
        if len(images) not in self._rates:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self._rates[len(images)]


@pytest.mark.parametrize(
    ("rates", "asked", "batch_size"),
    [
        ({32: 100, 64: 190, 128: 195, 256: 400}, 0, 64),
        ({32: 100, 64: 190, 128: 300}, 0, 128),
        ({}, 0, 32),
        ({32: 100}, 256, 256),
        ({8: 100}, 8, 8),
    ],
    ids=["no faster", "no room", "no room at all", "large", "small"],
)
def test_the_batch_size_of_a_gpu(rates: dict[int, float], asked: int, batch_size: int) -> None:
    """What is asked for is taken, and halved once it does not fit."""
    assert Rated(rates, asked).batch_size == batch_size


def test_timing_a_gpu_leaves_the_batch_size_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    class Timed(Rated):
        _rate = CudaEngine._rate

        def _launch(self, images: np.ndarray) -> Callable[[], Outputs]:
            return lambda: (images.mean(axis=(1, 2, 3))[:, None], None)

    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    assert Timed({}, 256).batch_size == 256


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_gpu_takes_no_algorithm_by_timing(tiny_resnet: Tiny, monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    pretend_gpu(monkeypatch)
    network, preprocessing = built(tiny_resnet)
    flags: list[tuple[bool, bool]] = []
    true = network.run

    def watched(pixels: torch.Tensor) -> Any:
        flags.append((torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic))
        return true(pixels)

    monkeypatch.setattr(network, "run", watched)
    images = some_images(preprocessing, 3)
    engine = choose_engine("tiny", network, preprocessing, Plan("cuda", batch_size=2, precision=precision))
    expected, _ = EagerEngine(*built(tiny_resnet), precision=precision).forward(images)
    assert difference(engine.forward(images)[0], expected) < (1e-4 if precision == "float32" else 0.05)
    assert set(flags) == {(False, True)}


def test_a_gpu_times_only_what_the_plan_leaves_open(tiny_resnet: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpu(monkeypatch)
    timed: list[tuple[str, int]] = []

    def rate(self: CudaEngine, images: np.ndarray) -> float:
        timed.append((self._layout, len(images)))
        return 2.0 if self._layout == "channels_first" else 1.0

    monkeypatch.setattr(CudaEngine, "_rate", rate)
    network, preprocessing = built(tiny_resnet)
    first = choose_engine("tiny", network, preprocessing, Plan("cuda"))
    assert first.made_with() == {"engine": "cuda", "batch_size": 32, "layout": "channels_first"}
    assert timed == [("channels_last", 32), ("channels_first", 32), ("channels_first", 32), ("channels_first", 64)]
    timed.clear()
    asked = Plan("cuda", batch_size=16, layout="channels_last")
    again = choose_engine("tiny", network, preprocessing, asked)
    assert again.made_with() == {"engine": "cuda", "batch_size": 16, "layout": "channels_last"}
    assert timed == []
    assert network.module.conv1[0].weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        ([{"device": "A", "batch_size": 64, "layout": "channels_first"}], (64, "channels_first")),
        ([{"device": "A", "batch_size": 64, "layout": "sideways"}], (64, "")),
        ([{"device": "A", "batch_size": "many"}], (0, "")),
        ([{"device": "B", "batch_size": 64, "layout": "channels_first"}, {"device": "A", "batch_size": 8}], (8, "")),
        ([{"batch_size": 64}], (0, "")),
        ([], (0, "")),
    ],
)
def test_what_was_chosen_before_is_chosen_again(made: list[dict[str, Any]], expected: tuple[int, str]) -> None:
    plan = as_before(Plan("cuda"), "A", made)
    assert (plan.batch_size, plan.layout) == expected
    asked = as_before(Plan("cuda", batch_size=2, layout="channels_last"), "A", made)
    assert (asked.batch_size, asked.layout) == (2, "channels_last")


def test_an_eager_engine_is_the_network(tiny_resnet: Tiny) -> None:
    network, preprocessing = built(tiny_resnet)
    images = some_images(preprocessing, 5)
    features, probabilities = EagerEngine(network, preprocessing, batch_size=2).forward(images)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    with torch.inference_mode():
        expected = tiny_resnet.module().eval()((torch.from_numpy(images) / 255 - mean) / std).softmax(dim=1)
    assert features.shape == (5, network.n_features)
    assert probabilities is not None
    np.testing.assert_allclose(probabilities, expected.numpy(), atol=1e-5)


def test_half_precision_is_near(tiny_resnet: Tiny) -> None:
    network, preprocessing = built(tiny_resnet)
    images = some_images(preprocessing, 3)
    exact, _ = EagerEngine(network, preprocessing).forward(images)
    half, _ = EagerEngine(network, preprocessing, precision="bfloat16").forward(images)
    assert half.dtype == np.float32
    assert 0 < difference(half, exact) < 0.1


def test_seconds_are_counted(tiny_resnet: Tiny) -> None:
    network, preprocessing = built(tiny_resnet)
    engine = EagerEngine(network, preprocessing)
    engine.forward(some_images(preprocessing, 1))
    assert engine.seconds["forward"] > 0


@pytest.fixture(scope="module")
def fast(tiny_resnet: Tiny) -> CompiledEngine:
    """A compiled engine, which takes a while."""
    return CompiledEngine(*built(tiny_resnet), batch_size=4)


def test_compiled_is_the_network_whatever_the_number_of_images(fast: CompiledEngine, tiny_resnet: Tiny) -> None:
    network, preprocessing = built(tiny_resnet)
    images = some_images(preprocessing, 10, seed=1)
    for found, expected in zip(fast.forward(images), EagerEngine(network, preprocessing).forward(images), strict=True):
        assert found is not None
        assert expected is not None
        assert difference(found, expected) < 1e-3
    last = np.ascontiguousarray(images.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    with torch.compiler.set_stance("fail_on_recompile"):
        assert np.array_equal(fast.forward(last)[0], fast.forward(images)[0]), "layouts of one image differ"
    one, _ = fast.forward(images[:1])
    assert np.array_equal(one, fast.forward(images)[0][:1]), "rows depend on how many are in a batch"


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch has no oneDNN here")
def test_weights_are_constants_of_the_program(tiny_resnet: Tiny) -> None:
    from torch._dynamo.utils import counters  # noqa: PLC0415 - takes a second

    network, preprocessing = built(tiny_resnet)
    before = counters["inductor"]["mkldnn_conv_weight_pack_matcher_count"]
    CompiledEngine(network, preprocessing, batch_size=5)
    layers = sum(isinstance(layer, torch.nn.Conv2d) for layer in network.module.modules())
    assert counters["inductor"]["mkldnn_conv_weight_pack_matcher_count"] == before + layers


def test_depthwise_convolutions_keep_their_layout(fast: CompiledEngine) -> None:
    def has_frozen_weights(*layers: torch.nn.Module) -> bool:
        return not compiled._is_depthwise(torch.nn.Sequential(*layers))

    assert fast._freezes
    assert has_frozen_weights(torch.nn.Conv2d(1, 4, 3), torch.nn.Conv2d(8, 8, 3, groups=4), torch.nn.Linear(2, 2))
    assert not has_frozen_weights(torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 8, 3, groups=8))


def test_drift_and_deviation_are_measured(fast: CompiledEngine, tiny_resnet: Tiny) -> None:
    network, preprocessing = built(tiny_resnet)
    assert batch_drift(preprocessing, fast) == 0
    assert 0 <= probe_deviation(network, preprocessing, fast, "float32") < 1e-5
    assert 1e-6 < probe_deviation(network, preprocessing, fast, "float16") < 1e-3


def test_what_differs_when_compiled_is_refused(tiny_resnet: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(run: Callable[..., Any], **_options: object) -> Callable[..., Any]:
        return lambda pixels: tuple(values + 1 for values in run(pixels))

    monkeypatch.setattr(torch, "compile", wrong)
    with pytest.raises(NotCompiledError, match="differed by"):
        CompiledEngine(*built(tiny_resnet), batch_size=2)


def test_without_a_compiler_the_eager_engine_runs_and_says_what_it_costs(
    tiny_resnet: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inductor.cpp, "cxx", (None, "no-such-compiler"))
    monkeypatch.setattr(choice, "_WORTH_COMPILING", 0.0)
    torch.compiler.reset()
    network, preprocessing = built(tiny_resnet)
    told: list[str] = []
    # Another size than the other tests have, for what is compiled once is not compiled again.
    plan = Plan(batch_size=3)
    engine = choose_engine("tiny", network, preprocessing, plan, images=10, tell=told.append)
    assert engine.name == "eager"
    assert len(told) == 1
    assert told[0].startswith("tiny: not compiled, for ")
    assert told[0].endswith("this takes about a sixth longer.")
    with pytest.raises(UsageError, match=r"'tiny' cannot be compiled: .* Use --engine eager"):
        choose_engine("tiny", network, preprocessing, Plan(engine="compiled", batch_size=3))


def test_short_work_is_not_compiled(tiny_resnet: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    network, preprocessing = built(tiny_resnet)
    monkeypatch.setattr(compiled.CompiledEngine, "__init__", lambda *_, **__: pytest.fail("it was compiled"))
    assert choose_engine("tiny", network, preprocessing, Plan(), images=1000).name == "eager"
    assert choose_engine("tiny", network, preprocessing, Plan(engine="eager"), images=10**12).name == "eager"


def test_the_choice_is_a_matter_of_work_alone() -> None:
    xception, mobilenet = 8.4e9, 0.3e9
    assert is_worth_compiling(xception, 5_000)
    assert not is_worth_compiling(xception, 50)
    assert not is_worth_compiling(mobilenet, 5_000)
    assert is_worth_compiling(mobilenet, 1_000_000)


def test_multiply_adds_are_counted(tiny_resnet: Tiny) -> None:
    network, _ = built(tiny_resnet)
    module = tiny_resnet.module()
    last = module.get_classifier()
    assert network.multiply_adds > last.in_features * last.out_features
    assert network.multiply_adds == int(network.multiply_adds)


@needs_gpu
@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
def test_a_gpu_gives_what_the_network_gives(tiny_resnet: Tiny, precision: str) -> None:
    network, preprocessing = built(tiny_resnet)
    images = some_images(preprocessing, 50)
    expected, _ = EagerEngine(network.on_cpu(), preprocessing).forward(images)
    engine = CudaEngine(network, preprocessing, "cuda", batch_size=8, precision=precision)
    waiting = [engine.launch(images[start : start + 8]) for start in range(0, 50, 8)]
    found = np.concatenate([outputs()[0] for outputs in waiting])
    assert difference(found, expected) < (1e-4 if precision == "float32" else 0.05)
    assert engine.seconds["forward"] > 0
    assert engine.seconds["transfer"] > 0


@needs_gpu
def test_a_gpu_finds_its_batch_size(tiny_resnet: Tiny) -> None:
    network, preprocessing = built(tiny_resnet)
    assert CudaEngine(network, preprocessing, "cuda", batch_size=0).batch_size >= 32
