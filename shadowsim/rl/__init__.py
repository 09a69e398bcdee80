"""Tapes to policies: learners of Stable-Baselines3, and a short fine-tune in the shadow."""
