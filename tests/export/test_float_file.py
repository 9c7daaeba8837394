"""The float file is written once for all that compare with it."""

import copy
import gc
from dataclasses import replace

from tersor.export import float_file
from tersor.export.float_file import FloatFile
from tersor.export.onnx.writer import export_onnx
from tests.export.models import small
from tests.report.models import quantized


def test_the_file_lives_as_long_as_its_owner():
    owner = FloatFile(small())
    path = owner.path()
    assert path.is_file()
    assert owner.path() == path
    other = copy.copy(owner)
    assert other.path() != path
    del owner
    gc.collect()
    assert not path.exists()
    assert other.path().is_file()


def test_verifications_of_a_result_share_it(tmp_path, monkeypatch):
    written = []

    def count(network, path, **options):
        written.append(path)
        return export_onnx(network, path, **options)

    monkeypatch.setattr(float_file, "export_onnx", count)
    result = replace(quantized())
    path = result.export(tmp_path / "int8.onnx").path
    first, second = (result.verify(path, latency=False) for _ in range(2))
    assert first.as_dict() == second.as_dict()
    assert len(written) == 1


def test_a_converted_result_has_another_file():
    result = replace(quantized())
    first = result._float_file
    result.original = result.original.copy()
    assert result._float_file is not first
    assert result._float_file is result._float_file
