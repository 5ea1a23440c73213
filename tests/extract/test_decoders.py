"""Images decoded in threads and in processes: the same pixels, once each, and a death that is told."""

from __future__ import annotations

import errno
import gc
import itertools
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fusion_pipeline.errors import ClusterError
from fusion_pipeline.extract.loading import loader, preparation
from fusion_pipeline.extract.loading.decoders import ProcessDecoder, ThreadDecoder, Timed, make_decoder
from fusion_pipeline.extract.loading.preparation import NetworkInput, Squares
from fusion_pipeline.extract.loading.slots import Placed, Slot, Slots
from fusion_pipeline.extract.networks.network import Network
from fusion_pipeline.extract.options import Options
from fusion_pipeline.images.decode import DecodeBudget, Reason
from fusion_pipeline.store import Cache
from fusion_pipeline.store.making.attempt import Attempt
from tests.builders import Tiny, count_opens, write_picture
from tests.extract.made import computed, contents, run
from tests.images.samples import encode
from tests.images.test_colour import STORED, UPRIGHT, exif, picture


def wait_until(is_so: Callable[[], object]) -> None:
    """Wait until something is so, for a minute at most."""
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


WAYS = (NetworkInput(32, 0.9, "bicubic", "center"), Squares(), NetworkInput(24, 1.0, "bilinear", "squash"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("pictures")
    return [write_picture(folder / f"{seed}.png", seed=seed, size=(60, 40)).read_bytes() for seed in range(6)]


@pytest.fixture(scope="module")
def processes() -> Any:
    decoder = ProcessDecoder(DecodeBudget(max_pixels=10_000), 2, WAYS)
    decoder.make_room(16)
    yield decoder
    decoder.close()


def test_processes_give_what_threads_give(processes: ProcessDecoder, pictures: list[bytes]) -> None:
    here = ThreadDecoder(DecodeBudget())
    for content in pictures:
        for ways in (WAYS, WAYS[:1], WAYS[1:]):
            found, expected = processes(content, ways), here(content, ways)
            assert found.image.reason is Reason.OK
            for ours, theirs in zip(found.image.arrays, expected.image.arrays, strict=True):
                assert all(np.array_equal(one, two) for one, two in zip(ours, theirs, strict=True))
            assert found.decode > 0
            assert found.resize > 0


@pytest.mark.parametrize(
    ("content", "colour"),
    [
        (encode(Image.new("RGB", (40, 30), (1, 2, 3)), "PNG"), (1, 2, 3)),
        (encode(Image.new("1", (40, 30), 255), "PNG"), (255, 255, 255)),
        (encode(Image.new("L", (40, 30), 7), "PNG"), (7, 7, 7)),
        (encode(Image.new("LA", (40, 30), (0, 51)), "PNG"), (204, 204, 204)),
        (encode(Image.new("RGBA", (40, 30), (0, 100, 255, 51)), "PNG"), (204, 224, 255)),
        (encode(Image.new("RGB", (40, 30), (1, 2, 3)).quantize(2), "PNG"), (1, 2, 3)),
        (encode(Image.new("RGB", (40, 30), (1, 2, 3)).quantize(2), "PNG", transparency=0), (255, 255, 255)),
        (encode(Image.new("CMYK", (40, 30), (51, 0, 255, 51)), "TIFF"), (163, 204, 0)),
        (encode(Image.new("I;16", (40, 30), 0x1234), "TIFF"), (0x12, 0x12, 0x12)),
        (encode(Image.new("I", (40, 30), 70_000), "TIFF"), (255, 255, 255)),
        (encode(Image.new("F", (40, 30), 0.2), "TIFF"), (51, 51, 51)),
        (encode(Image.new("YCbCr", (40, 30), (9, 128, 128)), "TIFF"), (9, 9, 9)),
        (encode(Image.new("RGB", (1, 1), (9, 8, 7)), "PNG"), (9, 8, 7)),
        (encode(Image.new("RGB", (100, 1), (9, 8, 7)), "PNG"), (9, 8, 7)),
    ],
    ids=["RGB", "1", "L", "LA", "RGBA", "P", "clear P", "CMYK", "I;16", "I", "F", "YCbCr", "a pixel", "a strip"],
)
def test_golden_pixels_in_thumbnails_and_network_input(
    processes: ProcessDecoder, content: bytes, colour: tuple[int, ...]
) -> None:
    for decoder in (processes, ThreadDecoder(DecodeBudget())):
        (network,), (small, large), (squashed,) = decoder(content, WAYS).image.arrays
        for square in (network.transpose(1, 2, 0), small, large, squashed.transpose(1, 2, 0)):
            np.testing.assert_array_equal(square, np.broadcast_to(colour, square.shape))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_in_thumbnails_and_network_input(processes: ProcessDecoder, orientation: int) -> None:
    stored = Image.fromarray(picture(STORED[orientation], block=16))
    content = encode(stored, "PNG", exif=exif(orientation))
    for decoder in (processes, ThreadDecoder(DecodeBudget())):
        _, (small, large), (squashed,) = decoder(content, WAYS).image.arrays
        for square in (small, large, squashed.transpose(1, 2, 0)):
            size = len(square)
            middles = square[np.ix_([size // 4, 3 * size // 4], [size // 6, size // 2, 5 * size // 6])]
            np.testing.assert_array_equal(middles, picture(UPRIGHT))


def test_budget_and_bad_files_are_told(processes: ProcessDecoder, tmp_path: Path) -> None:
    assert processes(b"text", WAYS).image.reason is Reason.NOT_AN_IMAGE
    large = write_picture(tmp_path / "large.png", seed=1, size=(200, 200)).read_bytes()
    assert processes(large, WAYS).image.reason is Reason.TOO_MANY_PIXELS


def test_pixels_lie_in_shared_memory_until_they_are_dropped(processes: ProcessDecoder, pictures: list[bytes]) -> None:
    before = processes._slots.free
    found = [processes(content, WAYS).image for content in pictures]
    assert processes._slots.free == before - len(pictures)
    assert not any(array.flags.owndata for image in found for arrays in image.arrays for array in arrays)
    del found
    gc.collect()
    assert processes._slots.free == before


def test_without_room_pixels_are_copied(
    processes: ProcessDecoder, pictures: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_slots", Slots(0, 0))
    found = processes(pictures[0], WAYS).image
    expected = ThreadDecoder(DecodeBudget())(pictures[0], WAYS).image
    assert all(map(np.array_equal, found.arrays[0], expected.arrays[0]))


BUSY = """
import io, signal, time
from PIL import Image
from fusion_pipeline.extract.loading.decoders import ProcessDecoder
from fusion_pipeline.extract.loading.preparation import Squares
from fusion_pipeline.images.decode import DecodeBudget
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a background job of a shell does not have
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    decoder = ProcessDecoder(DecodeBudget(), 1, [Squares()])
    decoder.make_room(1)
    while True:
        try:
            decoder(file.getvalue(), [Squares()])
            print("decoded", *decoder._slots._memories, flush=True)
            while True:
                time.sleep(0.01)  # in a read that begins just after the signal came, nothing would be raised
        except KeyboardInterrupt:
            print("interrupted", flush=True)
"""


def living(session: int) -> list[str]:
    """Return the processes of a session that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, _, of, *_ = path.read_text().rpartition(")")[2].split()
            found += [path.parent.name] if int(of) == session and state != "Z" else []
    return found


def test_decoders_outlive_an_interruption_and_not_their_parent(tmp_path: Path) -> None:
    """Ctrl-C goes to all processes of a terminal; SIGKILL, as for lack of memory, to one alone."""
    errors = tmp_path / "errors"
    with errors.open("w") as stderr:
        parent = subprocess.Popen(
            [sys.executable, "-c", BUSY],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=True,
        )
    assert parent.stdout is not None
    try:
        memory = Path("/dev/shm", parent.stdout.readline().split()[1])
        assert memory.exists()
        os.killpg(parent.pid, signal.SIGINT)
        assert parent.stdout.readline() == "interrupted\n"
        assert parent.stdout.readline().startswith("decoded")
        assert errors.read_text() == ""
        assert len(living(parent.pid)) == 4, "itself, a decoder, the server that forked it, the tracker of memory"
        parent.kill()
        parent.wait()
        wait_until(lambda: not living(parent.pid) and not memory.exists())
    finally:
        parent.kill()
        parent.communicate()


class Killing:
    """A preparation that kills who is at it, as a file does that crashes its decoder."""

    n_bytes = 1

    def __call__(self, image: Image.Image) -> tuple[np.ndarray, ...]:
        os.kill(os.getpid(), signal.SIGKILL)
        return ()


class Hungry:
    """A preparation for which there is not enough memory."""

    n_bytes = 1

    def __call__(self, image: Image.Image) -> tuple[np.ndarray, ...]:
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (16 << 30, hard))
        return (np.zeros(64 << 30, dtype=np.uint8),)


class KilledAtItsStart(DecodeBudget):
    """A budget that kills the process that is given it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return signal.raise_signal, (signal.SIGKILL,)


def test_a_process_that_is_killed_between_two_images(pictures: list[bytes]) -> None:
    decoder = ProcessDecoder(DecodeBudget(), 1, WAYS)
    try:
        decoder(pictures[0], WAYS)
        (worker,) = decoder._pool._processes
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: decoder._pool._broken)
        with pytest.raises(BrokenProcessPool):
            decoder(pictures[0], WAYS)
    finally:
        decoder.close()


def test_a_process_that_is_killed_at_an_image(pictures: list[bytes]) -> None:
    decoder = ProcessDecoder(DecodeBudget(), 1, [Killing()])
    try:
        with pytest.raises(BrokenProcessPool):
            decoder(pictures[0], [Killing()])
    finally:
        decoder.close()


def test_processes_that_are_killed_at_their_start(pictures: list[bytes]) -> None:
    decoder = ProcessDecoder(KilledAtItsStart(), 3, WAYS)
    try:
        with pytest.raises(ClusterError, match=r"end as they start\. .* below 'if __name__ == \"__main__\":'"):
            decoder(pictures[0], WAYS)
    finally:
        decoder.close()


UNGUARDED = """
from fusion_pipeline.errors import FusionError
from fusion_pipeline.extract.loading.decoders import make_decoder
from fusion_pipeline.extract.options import Options
from fusion_pipeline.extract.loading.preparation import Squares
try:
    decoder = make_decoder(Options(decode_in="processes", workers=3), "cpu", [Squares()])
except FusionError as error:
    print(__name__, "-", error, flush=True)
    raise SystemExit(1)
try:
    decoder(b"text", [Squares()])
except FusionError as error:
    print(__name__, "-", error)
decoder.close()
"""


def test_a_script_that_begins_anew_in_each_process_is_told(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(UNGUARDED)
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    guard = "put what it does below 'if __name__ == \"__main__\":', or decode in threads."
    child, parent = run.stdout.splitlines()
    assert child == f"__mp_main__ - Each process that decodes images runs the lines of your script once more: {guard}"
    assert parent.startswith("__main__ - The processes that decode images end as they start.")
    assert parent.endswith(guard)


def test_a_process_without_memory(pictures: list[bytes]) -> None:
    decoder = ProcessDecoder(DecodeBudget(), 1, [Hungry(), Squares()])
    try:
        with pytest.raises(MemoryError):
            decoder(pictures[0], [Hungry()])
        assert decoder(pictures[0], [Squares()]).image.reason is Reason.OK
    finally:
        decoder.close()


def test_processes_are_no_copies_of_one_with_threads(processes: ProcessDecoder, pictures: list[bytes]) -> None:
    """A copy would have the locks of threads that it has not."""
    processes(pictures[0], WAYS)
    for worker in processes._pool._processes:
        parent = Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[1]
        assert int(parent) != os.getpid()


def test_a_daemon_decodes_in_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a worker of Dask is: it must not have processes of its own."""
    options = Options(decode_in="processes", workers=1)
    monkeypatch.setattr(multiprocessing.current_process(), "_config", {"daemon": True})
    assert isinstance(make_decoder(options, "cuda", WAYS), ThreadDecoder)


def little_memory(room: int) -> Callable[[int, int, int], None]:
    """Return what takes memory where there is no more than `room`."""

    def allocate(_descriptor: int, _start: int, size: int) -> None:
        if size > room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return allocate


def test_little_shared_memory_is_made_do_with(pictures: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    one = sum(way.n_bytes for way in WAYS)
    monkeypatch.setattr(os, "posix_fallocate", little_memory(5 * one))
    decoder = ProcessDecoder(DecodeBudget(), 2, WAYS)
    try:
        decoder.make_room(64)
        assert decoder._slots.free == 4
        found = [decoder(content, WAYS).image for content in pictures]
        expected = [ThreadDecoder(DecodeBudget())(content, WAYS).image for content in pictures]
        assert all(
            np.array_equal(ours.arrays[0], theirs.arrays[0]) for ours, theirs in zip(found, expected, strict=True)
        )
    finally:
        del found
        decoder.close()


def test_slots_grow_by_what_is_asked_for_beyond_what_was(monkeypatch: pytest.MonkeyPatch) -> None:
    slots = Slots(4096, least=2)
    try:
        for asked, room in ((4, 4), (3, 4), (10, 10)):
            slots.grow(asked)
            assert slots.free == room
        taken: list[Slot] = []
        while (slot := slots.take()) is not None:
            slots.view(slot, Placed(0, (4096,)))[:] = len(taken)
            taken.append(slot)
        assert [int(slots.view(slot, Placed(100, (1,)))[0]) for slot in taken] == list(range(10)), "they overlap"
        monkeypatch.setattr(os, "posix_fallocate", little_memory(0))
        slots.grow(100)
        assert slots.free == 0, "what there is is made do with"
    finally:
        slots.close()


def test_processes_begin_before_the_first_image() -> None:
    """It takes seconds, in which networks are built."""
    decoder = ProcessDecoder(DecodeBudget(), 2, WAYS)
    try:
        wait_until(decoder._first.done)
        assert decoder._first.result() is True
    finally:
        decoder.close()


TAKE_ALL = """
from fusion_pipeline.errors import ClusterError
from fusion_pipeline.extract.loading.slots import Placed, Slots
slots = Slots(4096, least=2)
slots.grow(64)
print(slots.free)
while (slot := slots.take()) is not None:
    slots.view(slot, Placed(0, (4096,)))[:] = 1
slots.close()
try:
    Slots(1 << 20, least=2).grow(64)
except ClusterError as error:
    print(error)
"""


def test_a_container_with_little_shared_memory() -> None:
    """Without its being reserved, the first write beyond it would kill the process."""
    mount = "mount -t tmpfs -o size=100k none /dev/shm"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True, check=False).returncode:
        pytest.skip("no mount name space of one's own is to be had")
    command = ["unshare", "-rm", "sh", "-c", f'{mount} && exec "$0" -c "$1"', sys.executable, TAKE_ALL]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    room, line = run.stdout.splitlines()
    assert int(room) == 16, "of 64, halved twice"
    assert line.startswith("No shared memory for 2 processes that decode images (No space left on device).")


def test_no_shared_memory_is_told_and_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(Path("/dev/shm").iterdir())
    monkeypatch.setattr(os, "posix_fallocate", little_memory(0))
    with pytest.raises(ClusterError, match=r"^No shared memory for 2 processes .* \(No space left on device\)\. Use"):
        Slots(4096, least=2).grow(64)
    assert set(Path("/dev/shm").iterdir()) == before


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    for row in range(16):
        write_picture(tmp_path / "flowers" / ("rose" if row % 2 else "iris") / f"{row:02}.png", seed=row)
    return tmp_path / "flowers"


def test_a_death_costs_what_was_not_written(
    flowers: Path, tmp_path: Path, tiny_resnet: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = contents(run(flowers, tmp_path / "undisturbed", tiny_resnet))
    true, calls = ProcessDecoder.__call__, itertools.count()

    def killing(self: ProcessDecoder, *arguments: Any) -> Timed:
        if next(calls) == 12:
            for worker in list(self._pool._processes):
                os.kill(worker, signal.SIGKILL)
        return true(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(ProcessDecoder, "__call__", killing)
        with pytest.raises(
            ClusterError, match=r"died at '.*/\d+\.png' or at an image beside it: .* nothing .* is lost"
        ):
            run(flowers, tmp_path / "cache", tiny_resnet, decode_in="processes", workers=1)
    assert Cache(tmp_path / "cache")["flowers"].stores() == ()
    again = run(flowers, tmp_path / "cache", tiny_resnet, decode_in="processes")
    assert contents(again) == expected
    assert computed(again) in ([12, 12], [8, 8]), "of 16"


def test_an_extraction_in_processes_is_the_same(
    tmp_path: Path, tiny_resnet: Tiny, tiny_efficientnet: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "flowers"
    for row in range(12):
        write_picture(data / ("rose" if row % 2 else "iris") / f"{row:02}.png", seed=row, size=(50, 40 + row))
    opened = count_opens(monkeypatch, data)
    one = run(data, tmp_path / "one", tiny_resnet, tiny_efficientnet, decode_in="threads")
    assert len(opened()) == 12
    two = run(data, tmp_path / "two", tiny_resnet, tiny_efficientnet, decode_in="processes")
    assert len(opened()) == 24, "N opens for N images and two backbones with several workers"
    assert contents(one) == contents(two)
    assert two.opens == 12


def test_pixels_have_room_and_nobody_starts_processes_for_nothing(
    flowers: Path, tmp_path: Path, tiny_resnet: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    true, taken = Slots.take, []

    def take(self: Slots) -> Slot | None:
        taken.append(true(self))
        return taken[-1]

    monkeypatch.setattr(Slots, "take", take)
    options = {"decode_in": "processes", "batch_size": 16, "partition_rows": 16}
    run(flowers, tmp_path / "cache", tiny_resnet, **options)
    assert len(taken) == 16
    assert None not in taken
    monkeypatch.setattr(ProcessDecoder, "__init__", lambda *_: pytest.fail("processes were started"))
    assert computed(run(flowers, tmp_path / "cache", tiny_resnet, **options)) == [0, 0]


@pytest.mark.parametrize("stage", ["read", "decode", "resize", "forward", "write"])
def test_the_stage_that_is_slow_is_named(
    tmp_path: Path, tiny_resnet: Tiny, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    owner: Any
    owner, name = {
        "read": (loader, "read_file"),
        "decode": (preparation, "decode"),
        "resize": (NetworkInput, "__call__"),
        "forward": (Network, "run"),
        "write": (Attempt, "write"),
    }[stage]
    true = getattr(owner, name)

    def slow(*arguments: Any, **options: Any) -> Any:
        time.sleep(0.3)
        return true(*arguments, **options)

    data = tmp_path / "flowers"
    for row in range(8):
        write_picture(data / ("rose" if row % 2 else "iris") / f"{row:02}.png", seed=row, size=(50, 40))
    Image.init()
    monkeypatch.setattr(owner, name, slow)
    options = {"batch_size": 1, "workers": 1, "partition_rows": 1}
    verdict = run(data, tmp_path / "cache", tiny_resnet, **options).verdict
    assert verdict.slowest == stage
    assert verdict.text.startswith(f"{stage} held it back")
