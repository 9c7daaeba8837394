"""Float accuracy of every network: `python -m benchmarks.zoo` checks weights and preprocessing."""

from benchmarks.zoo import MODELS, accuracy

print("| network | float top-1, measured | expected |")
print("| --- | --- | --- |")
for name, model in MODELS.items():
    images, labels = model.data()
    print(f"| {name} | {accuracy(model.load(), images, labels):.2f} | {model.top1:.2f} |")
