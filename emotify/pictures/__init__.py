"""Find picture files in folders, identify their format by content, and decode them to upright pixels."""
