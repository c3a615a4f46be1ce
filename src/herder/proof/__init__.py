"""Proof: what `herder verify` searches beyond single tables. It stands outside, as lab, bench and sim do."""
