import pytest
import torch

from tintype.diffusion import EPS, PARAMETERIZATIONS, X0, Denoiser, Schedule, V
from tintype.errors import SettingsError

B, SHAPE = 3, (3, 4, 8, 8)
SIGMAS = (0.03, 1.0, 14.6)


def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(SHAPE, generator=generator), torch.randn(SHAPE, generator=generator)


def schedule(prediction):
    return Schedule.scaled_linear(prediction=prediction)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_each_parameterization_inverts_what_it_predicts(sigma):
    x0, noise = (each.double() for each in batch())
    x = x0 + sigma * noise
    alpha = (sigma**2 + 1) ** -0.5
    predicted = {EPS: noise, V: alpha * noise - sigma * alpha * x0, X0: x0}
    for scalars, output in predicted.items():
        c_skip, c_out, c_in = scalars(sigma)
        assert torch.allclose(c_skip * x + c_out * output, x0, atol=1e-12)
        assert torch.allclose((x0 - c_skip * x) / c_out, output, atol=1e-12)
        assert c_in == pytest.approx(alpha)


@pytest.mark.parametrize("prediction", PARAMETERIZATIONS)
def test_floats_and_tensors_give_the_same_scalars(prediction):
    for sigma in SIGMAS:
        for a, b in zip(
            PARAMETERIZATIONS[prediction](sigma), PARAMETERIZATIONS[prediction](torch.tensor(sigma)), strict=True
        ):
            assert a == pytest.approx(float(b), rel=1e-6)


@pytest.mark.parametrize("prediction", PARAMETERIZATIONS)
def test_a_network_that_knows_the_answer_denoises_exactly_and_has_no_loss(prediction):
    x0, noise = batch()
    t = torch.tensor([0, 500, 999])
    table = schedule(prediction)
    sigma = table.sigmas[t].float()
    alpha = ((sigma**2 + 1) ** -0.5).reshape(-1, 1, 1, 1)
    answer = {"eps": noise, "x0": x0, "v": alpha * noise - sigma.reshape(-1, 1, 1, 1) * alpha * x0}[prediction]

    def oracle(x, times, cond):
        assert torch.allclose(times, t.float(), atol=1e-2)
        assert times.dtype == torch.float32
        return answer

    denoiser = Denoiser(oracle, table)
    assert torch.allclose(denoiser(x0 + sigma.reshape(-1, 1, 1, 1) * noise, sigma), x0, atol=1e-4)
    assert denoiser.loss(x0, noise, t).max() < 1e-9


@pytest.mark.parametrize("prediction", PARAMETERIZATIONS)
def test_the_loss_is_the_mean_squared_error_of_each_image_weighed_by_min_snr(prediction):
    x0, noise = batch()
    t = torch.tensor([0, 500, 999])
    denoiser = Denoiser(lambda x, times, cond: torch.zeros_like(x), schedule(prediction))
    snr = denoiser.schedule.sigmas[t].float() ** -2
    abar = denoiser.schedule.alphas_cumprod[t].float().reshape(-1, 1, 1, 1)
    target = {"eps": noise, "x0": x0, "v": abar.sqrt() * noise - (1 - abar).sqrt() * x0}[prediction]
    plain = denoiser.loss(x0, noise, t)
    assert plain.shape == (B,)
    assert torch.allclose(plain, target.square().mean((1, 2, 3)), rtol=1e-4)
    clipped = snr.clamp(max=5.0)
    weight = {"eps": clipped / snr, "v": clipped / (snr + 1), "x0": clipped}[prediction]
    assert torch.allclose(denoiser.loss(x0, noise, t, weighting="min_snr"), plain * weight, rtol=1e-4)


def test_an_unknown_weighting_is_refused():
    with pytest.raises(SettingsError, match="min_snr"):
        Denoiser(lambda x, t, cond: x, schedule("eps")).loss(*batch(), torch.zeros(B, dtype=int), weighting="snr")


def test_the_network_runs_in_its_own_type_and_the_state_stays_fp32():
    seen = []

    def network(x, t, cond):
        seen.append((x.dtype, t.dtype, t.shape))
        return x

    denoiser = Denoiser(network, schedule("eps"), dtype=torch.bfloat16)
    x0, noise = batch()
    assert denoiser(x0, 2.0).dtype == torch.float32
    assert denoiser.loss(x0.bfloat16(), noise.bfloat16(), torch.tensor([1, 2, 3])).dtype == torch.float32
    assert seen == [(torch.bfloat16, torch.float32, (B,))] * 2


def test_the_plan_says_which_time_the_network_is_told():
    told = []
    denoiser = Denoiser(lambda x, t, cond: told.append(float(t[0])) or x, schedule("eps"))
    x = batch()[0]
    plan = denoiser.schedule.plan("euler", "linspace", 7)
    for sigma in plan.sigmas[:-1]:
        denoiser.for_plan(plan)(x, sigma)
    assert told == pytest.approx(plan.timesteps)
    told.clear()
    rounding = denoiser.schedule.plan("dpmpp_2m", "karras", 7)
    denoiser.for_plan(rounding)(x, 1.2345)
    assert told == [round(denoiser.schedule.timestep(1.2345))]


def test_gradients_reach_the_network():
    scale = torch.nn.Parameter(torch.ones(()))
    denoiser = Denoiser(lambda x, t, cond: scale * x, schedule("v"))
    denoiser.loss(*batch(), torch.tensor([1, 500, 900])).mean().backward()
    assert scale.grad is not None and scale.grad != 0


def test_a_prediction_may_be_overridden_but_not_into_the_impossible():
    x, _ = batch()
    network = lambda x, t, cond: x  # noqa: E731
    assert torch.equal(
        Denoiser(network, schedule("eps"), prediction="v")(x, 1.0), Denoiser(network, schedule("v"))(x, 1.0)
    )
    with pytest.raises(SettingsError, match="zero terminal SNR"):
        Denoiser(network, Schedule.scaled_linear(prediction="v", zero_terminal_snr=True), prediction="eps")
