"""`deep`: the `cnn` with more blocks."""

from __future__ import annotations

from emotify.networks.cnn import Cnn


class Deep(Cnn):
    """The cnn with 2, 3 and 3 residual blocks in its stages instead of 1, 2 and 2; it can start from one."""

    blocks = (2, 3, 3)
