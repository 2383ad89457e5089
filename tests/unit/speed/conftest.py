import pytest
import torch


@pytest.fixture
def set_threads():
    """Sets how many threads torch computes with; after the test they are as many as before."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)
