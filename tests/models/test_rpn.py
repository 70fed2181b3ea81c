"""The proposal network's head: what its layers begin with."""

import numpy as np

from maskrcnn.models.rpn import RPNHead


def test_two_convolutions_begin_with_different_weights():
    head = RPNHead(8, 3, convolutions=2, channels=0)
    first, second = (np.asarray(conv.kernel) for conv in head.convs)
    assert first.shape == second.shape
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.3
