"""check.py FOLDER: checks every case that the Rust test wrote there.

A case is a folder with model.onnx, window.f32 (raw little-endian rows), scale.f32 (of the columns), for each output, NAME.f32 with what the
trainer's own forward pass gives, and raw_score.f32 with the daemon's own sum of residuals. Onnx's checker (with shape inference) and onnxruntime must agree with them.
"""

import json
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime

OUTPUTS = ["score", "reconstruction", "error", "latent", "residual"]
TOLERANCE = 1e-5


def check(case):
    rows = json.loads((case / "case.json").read_text())["rows"]
    onnx.checker.check_model(str(case / "model.onnx"), full_check=True)
    session = onnxruntime.InferenceSession(str(case / "model.onnx"), providers=["CPUExecutionProvider"])
    (window,) = session.get_inputs()
    assert window.name == "window", window.name
    names = [output.name for output in session.get_outputs()]
    assert set(OUTPUTS) <= set(names), names
    fed = np.fromfile(case / "window.f32", dtype="<f4").reshape(rows, -1)
    scale = np.fromfile(case / "scale.f32", dtype="<f4")
    worst = 0.0
    difference = np.fromfile(case / "difference.f32", dtype="<f4").reshape(rows, -1)
    told = OUTPUTS + [name for name in ["difference", "latent_deviation"] if name in names]
    for name, got in zip(told, session.run(told, {"window": fed})):
        expected = np.fromfile(case / f"{name}.f32", dtype="<f4").reshape(got.shape)
        assert np.isfinite(got).all(), f"{case.name}: {name} is not finite"
        if name == "residual" and "difference" in names:
            # Its sign is the difference's, which rounding may turn where it is next to none.
            doubtful = np.abs(difference) < TOLERANCE
            got, expected = np.where(doubtful, np.abs(got), got), np.where(doubtful, np.abs(expected), expected)
        # A reconstruction has its column's unit, and so does its rounding.
        unit = np.maximum(1.0, scale) if name == "reconstruction" else 1.0
        distance = np.abs(got - expected) / np.maximum(unit, np.abs(expected))
        worst = max(worst, float(distance.max()))
        assert distance.max() <= TOLERANCE, f"{case.name}: {name} is {distance.max():.2e} off"
    (score,) = session.run(["score"], {"window": fed})
    summed = np.fromfile(case / "raw_score.f32", dtype="<f4")
    distance = np.abs(score - summed) / np.maximum(1.0, np.abs(summed))
    assert distance.max() <= TOLERANCE, f"{case.name}: the daemon's sum is {distance.max():.2e} off the graph's score"
    properties = session.get_modelmeta().custom_metadata_map
    assert properties.get("strayd-test") == case.name, properties
    return worst


cases = sorted(path for path in pathlib.Path(sys.argv[1]).iterdir() if path.is_dir())
assert cases, "no cases"
print(f"{len(cases)} cases, at most {max(check(case) for case in cases):.1e} off")
