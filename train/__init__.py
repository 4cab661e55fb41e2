"""From shards to a trained, evaluated model; never imports Beam."""
