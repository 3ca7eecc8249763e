"""From scored detections to a ranked catalog: merging, ranking, naming, matching."""
