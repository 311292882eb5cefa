"""Studies: overlays on `params.yaml`, whose results land in `docs/results/`."""
