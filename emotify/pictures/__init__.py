"""Picture files -> upright pixels: the one reader, for training and for prediction."""
