"""`deep`: the `cnn` with more blocks."""

from __future__ import annotations

from emotify.networks.cnn import Cnn


class Deep(Cnn):
    """cnn with 2, 3 and 3 residual blocks per stage instead of 1, 2 and 2; it can start from the weights of a cnn."""

    blocks = (2, 3, 3)
