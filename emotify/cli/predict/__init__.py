"""`emotify predict`."""

from emotify.cli.predict.command import predict

__all__ = ["predict"]
