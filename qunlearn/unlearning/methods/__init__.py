"""One file a method; no file imports another. `qunlearn.unlearning` imports them all, which registers them."""
