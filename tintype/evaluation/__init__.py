"""What a trained model can do, measured: each figure beside a baseline, with its interval."""
