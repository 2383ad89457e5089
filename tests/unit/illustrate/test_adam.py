"""The page's own Adam against torch's."""

import torch

from tintype.illustrate.adam import Adam


def test_it_moves_weights_as_torch_does():
    torch.manual_seed(0)
    ours = [torch.nn.Parameter(torch.randn(5, 3)), torch.nn.Parameter(torch.randn(7))]
    theirs = [torch.nn.Parameter(weight.detach().clone()) for weight in ours]
    idle = torch.nn.Parameter(torch.ones(2))  # has no gradient
    adam = Adam([ours[0], idle, ours[1]], 1e-2)
    reference = torch.optim.AdamW(theirs, lr=1e-2, weight_decay=0.0)
    for _ in range(6):
        for weights in (ours, theirs):
            (weights[0].tanh().sum() * weights[1].square().mean()).backward()
        adam.step()
        reference.step()
        reference.zero_grad()
        assert all(weight.grad is None for weight in ours)
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)
    assert torch.equal(idle, torch.ones(2))
