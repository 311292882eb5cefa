"""Image sets as arrays with stable ids, splits with a gate, and batches that live on the device."""
