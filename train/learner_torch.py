"""Steps on PyTorch: eager, one after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from keras import ops

from .learner import Learner


class TorchLearner(Learner):
    """Steps as plain calls."""

    def _train(self, images: Any, labels: Any, weights: Any) -> Any:
        # One transfer for all steps.
        batches = tuple(map(ops.convert_to_tensor, (images, labels, weights)))
        return sum(self._step(*(part[step] for part in batches)) for step in range(len(labels)))

    def _step(self, images: Any, labels: Any, weights: Any) -> Any:
        self.model.zero_grad()
        loss, sums = self.objective(self.model(images, training=True), labels, weights)
        loss = loss / weights.sum() + sum(self.model.losses)
        self.optimizer.scale_loss(loss).backward()
        variables = self.model.trainable_variables
        with torch.no_grad():
            self.optimizer.apply([v.value.grad for v in variables], variables)
        return sums.detach()

    def predict(self, images: Any) -> npt.NDArray[np.float32]:
        """See `Learner`."""
        with torch.no_grad():
            logits = self.network(ops.convert_to_tensor(images), training=False)
            result: npt.NDArray[np.float32] = ops.convert_to_numpy(logits)
        return result
