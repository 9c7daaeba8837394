"""Float accuracy of every network: `python -m benchmarks.zoo` checks weights and preprocessing."""

from benchmarks.zoo import MODELS, accuracy
from benchmarks.zoo.silunet import weights_path

print("| network | float top-1, measured | expected |")
print("| --- | --- | --- |")
for name, model in MODELS.items():
    if model.own and not weights_path().is_file():
        continue
    images, labels = model.data()
    print(f"| {name} | {accuracy(model.load(), images, labels):.2f} | {model.top1:.2f} |")
