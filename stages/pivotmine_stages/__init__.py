"""The four stages of the road: extract, rollout, score, selection; and the engines that rollout drives."""
