"""Threads of one process take turns."""

from concurrent.futures import ThreadPoolExecutor

import tersor
from tests import nets


def test_threads_quantize_and_verify_as_one_alone(tmp_path):
    model, images = nets.plain(), nets.images(4)

    def quantized(number):
        q = tersor.quantize(model, images)
        path = q.export(tmp_path / f"{number}.onnx").path
        return path.read_bytes(), q.verify(path, images, latency=False).sqnr

    alone = quantized(0)
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(quantized, range(1, 4))) == [alone] * 3
