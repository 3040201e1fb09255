"""Train, evaluate, ensemble, export and run classifiers of facial expressions on FER-2013-like faces."""

__version__ = "0.1.0"
