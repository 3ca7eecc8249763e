"""A plain PyTorch ResNet50, the peer of `benchmarks.train`: python -m benchmarks.torch_resnet50 SIZE BATCH STEPS AMP.

Prints ``ready``; for each line that it reads it trains for STEPS batches of noise, channels last, and prints the
stamps a second.
"""

from __future__ import annotations

import sys
import time

import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]


class Block(nn.Module):
    def __init__(self, before: int, width: int, stride: int):
        super().__init__()
        after, layers = 4 * width, []
        for a, b, kernel, step in (
            (before, width, 1, 1),
            (width, width, 3, stride),
            (width, after, 1, 1),
        ):
            conv = nn.Conv2d(a, b, kernel, step, kernel // 2, bias=False)
            layers += [conv, nn.BatchNorm2d(b), nn.ReLU(True)]
        self.main, self.side = nn.Sequential(*layers[:-1]), nn.Sequential()
        if stride != 1 or before != after:
            conv = nn.Conv2d(before, after, 1, stride, bias=False)
            self.side = nn.Sequential(conv, nn.BatchNorm2d(after))

    def forward(self, x):
        return torch.relu(self.main(x) + self.side(x))


def resnet50() -> nn.Module:
    """Return ResNet50 (He et al. 2016) with two outputs, laid out as torchvision's."""
    parts = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(True), nn.MaxPool2d(3, 2, 1)]
    before = 64
    for width, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for k in range(count):
            parts.append(Block(before, width, stride if k == 0 else 1))
            before = 4 * width
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 2))


def main() -> None:
    """Answer each line with a rate."""
    size, batch, steps, amp = map(int, sys.argv[1:])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark = True
    network = resnet50().to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    image = torch.randn(steps * batch, 3, size, size)
    label = torch.arange(len(image)) % 2
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        order = torch.randperm(len(image))
        for first in range(0, len(image), batch):
            rows = order[first : first + batch]
            stamps = image[rows].to(device, memory_format=torch.channels_last)
            with torch.autocast(device, torch.bfloat16, enabled=bool(amp)):
                loss = nn.functional.cross_entropy(network(stamps), label[rows].to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        loss.item()  # waits for the device
        print(len(image) / (time.perf_counter() - start), flush=True)


if __name__ == "__main__":
    main()
