"""Why a model predicts what it predicts: the attention of its gates."""
