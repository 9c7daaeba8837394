"""How many architectures go through: torchvision, timm and transformers, with random weights."""
