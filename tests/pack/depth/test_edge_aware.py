"""What is passed along rows and columns goes far in the open and stops at edges."""

import torch

from pack.depth.edge_aware import cheapest_path_costs, diffuse, edges


def noise(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def no_edges(x):
    return edges(torch.zeros_like(x))


def test_edges_are_the_largest_step_of_any_channel():
    picture = torch.zeros(1, 2, 2, 3)
    picture[0, 0, :, 1:] = 0.2
    picture[0, 1, 1] = -0.5
    across, down = edges(picture)
    torch.testing.assert_close(across, torch.tensor([[0.2, 0], [0.2, 0]]).view(1, 1, 2, 2))
    torch.testing.assert_close(down, torch.full((1, 1, 1, 3), 0.5))


def test_diffusion_keeps_what_is_constant():
    x = torch.full((2, 3, 20, 30), 0.7)
    torch.testing.assert_close(diffuse(x, edges(noise(2, 3, 20, 30)), reach=9, contrast=0.1), x)


def test_diffusion_spreads_by_its_reach_where_there_is_no_edge():
    x = torch.zeros(1, 1, 101, 121)
    x[..., 50, 60] = 1
    spread = diffuse(x, no_edges(x), reach=8, contrast=1, rounds=3)[0, 0]
    position = torch.arange(121) - 60.0
    mass = spread.sum(0)
    deviation = ((mass * position.square()).sum() / mass.sum()).sqrt()
    assert abs(float(spread.sum()) - 1) < 0.01
    assert abs(float(deviation) - 8) < 1
    torch.testing.assert_close(mass[40:81], mass[40:81].flip(0), rtol=1e-3, atol=1e-6)


def test_diffusion_stops_at_an_outline():
    inside = torch.zeros(1, 1, 40, 50)
    inside[..., 10:30, 15:40] = 1
    x = inside * 0.8 + 0.4 * (noise(1, 1, 40, 50) - 0.5)
    smooth = diffuse(x, edges(inside), reach=40, contrast=0.01)
    assert smooth[inside > 0].std() < 0.1 * x[inside > 0].std()
    assert abs(smooth[inside > 0].mean() - x[inside > 0].mean()) < 0.02
    assert abs(smooth[inside == 0].mean() - x[inside == 0].mean()) < 0.02


def test_frames_are_filtered_independently():
    x, picture = noise(3, 2, 15, 17), noise(3, 3, 15, 17, seed=1)
    start, cost = noise(3, 1, 15, 17) * 9, edges(picture)
    alone = edges(picture[1:2])
    torch.testing.assert_close(diffuse(x, cost, 5, 0.2)[1:2], diffuse(x[1:2], alone, 5, 0.2))
    assert torch.equal(cheapest_path_costs(start, cost)[1:2], cheapest_path_costs(start[1:2], alone))


def test_the_cheapest_path_is_found():
    """Against single steps in all directions, as often as there are pixels."""
    start, cost = noise(1, 1, 9, 11) * 9, edges(noise(1, 1, 9, 11, seed=2))
    expected = start.clone()
    for _ in range(99):
        across = torch.minimum(expected[..., 1:], expected[..., :-1] + cost[0])
        expected[..., :-1] = torch.minimum(expected[..., :-1], expected[..., 1:] + cost[0])
        expected[..., 1:] = torch.minimum(expected[..., 1:], across)
        down = torch.minimum(expected[..., 1:, :], expected[..., :-1, :] + cost[1])
        expected[..., :-1, :] = torch.minimum(expected[..., :-1, :], expected[..., 1:, :] + cost[1])
        expected[..., 1:, :] = torch.minimum(expected[..., 1:, :], down)
    torch.testing.assert_close(cheapest_path_costs(start, cost, rounds=20), expected)
    assert (cheapest_path_costs(start, cost) >= expected - 1e-6).all()
