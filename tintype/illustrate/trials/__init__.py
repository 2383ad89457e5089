"""What is tried after a run, with the same model: other prompts, the autoencoder's way back, real training steps.

Each trial gives plain data, of which figures are drawn. None leaves a trace in the model.
"""
