"""The local model: grammars by laws, the runtime and the model by real runs of real weights."""
