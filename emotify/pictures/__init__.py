"""Picture files: found in folders, told apart by their first bytes, and decoded into upright pixels."""
