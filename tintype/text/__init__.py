"""Strings -> what a noise predictor is told: tokenizer, prompt, conditioner, vocabulary."""
