"""One thread for each session of onnxruntime, and short timings.

Idle threads of onnxruntime wait for their next run by spinning, on cores that other tests need.
"""

from functools import wraps

import onnxruntime as ort

from tersor.export.sessions import latency


def use_one_thread(patch):
    """Patch onnxruntime; `patch` is a `pytest.MonkeyPatch`."""
    create = ort.InferenceSession.__init__

    @wraps(create)
    def create_calmly(session, model, sess_options=None, *args, **kwargs):
        options = ort.SessionOptions() if sess_options is None else sess_options
        options.intra_op_num_threads = 1
        create(session, model, options, *args, **kwargs)

    patch.setattr(ort.InferenceSession, "__init__", create_calmly)
    patch.setattr(latency, "_SHORTEST", 2e-4)  # what a shared machine measures says little anyway
