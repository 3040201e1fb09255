"""Arrays of images and labels are checked when a data set is made from them."""

from __future__ import annotations

import numpy as np
import pytest

from emotify.data import LabelledImages

IMAGES, LABELS = np.zeros((3, 1, 48, 48), np.uint8), np.zeros(3, np.int64)


@pytest.mark.parametrize("images", [IMAGES.astype(np.float32), IMAGES[:, 0], IMAGES[..., :47]])
def test_images_of_another_type_or_shape_are_refused(images):
    """Float pixels from 0 to 1, for example, would train on black images."""
    with pytest.raises(ValueError, match=r"images must be uint8 \(N, 1, 48, 48\), not (uint8|float32) \(3, "):
        LabelledImages(images, LABELS)


@pytest.mark.parametrize("labels", [LABELS.astype(np.int32), LABELS[:2], LABELS[:, None]])
def test_labels_of_another_type_or_shape_are_refused(labels):
    with pytest.raises(ValueError, match=r"labels must be int64 \(3,\), not int(32|64) \("):
        LabelledImages(IMAGES, labels)
