"""The recurrence of each cell over time, forward and backward, on preallocated tensors: the equations of ``reference``.

``forward`` gets the projected inputs ``a (T, B, G*H)``, which it overwrites with the gates, and gives each state part
as ``(T+1, B, H)``, the initial state first, and what ``backward`` needs. ``backward`` gives the gradient of ``a``, of
the initial state, and of the recurrent weights. ``keep``: per state part ``(T, B, H)``, the share of the old state
that stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ostinato.kernels.autograd.products import outer, product

Weights = Mapping[str, Tensor]
Parts = tuple[Tensor, ...]


@dataclass(frozen=True)
class Loop:
    """A cell over time."""

    forward: Callable[[Tensor, Weights, Parts, Parts | None], tuple[Parts, Parts]]
    backward: Callable[[Tensor, Parts, Parts, Parts, Weights, Parts | None], tuple[Tensor, Parts, dict[str, Tensor]]]


def histories(a: Tensor, state: Parts) -> Parts:
    """Room for each state part at every time ``(T+1, B, H)``, the initial state in its place."""
    rooms = tuple(a.new_empty(len(a) + 1, *part.shape) for part in state)
    for room, part in zip(rooms, state, strict=True):
        room[0] = part
    return rooms


def steps(*sequences: Tensor) -> Iterator[Sequence[Tensor]]:
    """Each sequence ``(T, B, K)`` as its views at every time, made at once: slicing in the loop costs 1 us each."""
    return (sequence.unbind() for sequence in sequences)


def hold(parts: tuple[Sequence[Tensor], ...], keep: Parts | None, t: int) -> None:
    """Let ``keep`` of the state before step ``t`` stay."""
    if keep is not None:
        for part, k in zip(parts, keep, strict=True):
            torch.lerp(part[t + 1], part[t], k[t], out=part[t + 1])


def d_hold(d_state: Parts, keep: Parts | None, t: int) -> tuple[Parts, Parts | None]:
    """Gradient of ``hold``: of the fresh state, and of the state before (None when nothing was held)."""
    if keep is None:
        return d_state, None
    held = tuple(k[t] * d for k, d in zip(keep, d_state, strict=True))
    return tuple(d - h for d, h in zip(d_state, held, strict=True)), held


def add(d_state: Parts, held: Parts | None) -> Parts:
    """The two ways into the state before, in one."""
    return d_state if held is None else tuple(d.add_(h) for d, h in zip(d_state, held, strict=True))


def tanh(x: Tensor, out: Tensor) -> Tensor:
    """tanh of ``x`` into ``out``, which may be ``x``."""
    if x.device.type == "cpu" and x.dtype == torch.float32:
        # By the logistic function it takes a quarter of the time of torch's own, and errs by 1e-7 at most.
        return torch.mul(x, 2, out=out).sigmoid_().mul_(2).sub_(1)
    return torch.tanh(x, out=out)


def d_sigmoid_(d: Tensor, y: Tensor) -> Tensor:
    """``d *= y (1 - y)`` in place."""
    return torch.ops.aten.sigmoid_backward.grad_input(d, y, grad_input=d)  # type: ignore[no-any-return]


def d_tanh_(d: Tensor, y: Tensor) -> Tensor:
    """``d *= 1 - y^2`` in place."""
    return torch.ops.aten.tanh_backward.grad_input(d, y, grad_input=d)  # type: ignore[no-any-return]


def rows(sequence: Tensor) -> Tensor:
    """``(T, B, K)`` as ``(T*B, K)``."""
    return sequence.reshape(-1, sequence.shape[-1])


# rnn

ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "tanh": (lambda x: tanh(x, x), lambda y: 1 - y * y),
    "relu": (torch.relu, lambda y: (y > 0).to(y.dtype)),
    "leaky_relu": (lambda x: torch.maximum(x, 0.01 * x), lambda y: (y > 0).to(y.dtype).mul_(0.99).add_(0.01)),
    "elu": (torch.nn.functional.elu, lambda y: y.clamp(max=0) + 1),
}


def rnn_forward(activation: str, a: Tensor, weights: Weights, state: Parts, keep: Parts | None) -> tuple[Parts, Parts]:
    """h_t = act(a_t + U h_{t-1})."""
    U, act = weights["weight_hh"], ACTIVATIONS[activation][0]
    parts = histories(a, state)
    (h,) = steps(*parts)
    for t, a_t in enumerate(a.unbind()):
        h[t + 1].copy_(act(a_t.add_(product(h[t], U))))
        a_t.copy_(h[t + 1])
        hold((h,), keep, t)
    return parts, (a,)


def rnn_backward(
    activation: str,
    d_outputs: Tensor,
    d_state: Parts,
    parts: Parts,
    saved: Parts,
    weights: Weights,
    keep: Parts | None,
) -> tuple[Tensor, Parts, dict[str, Tensor]]:
    """Gradient of ``rnn_forward``."""
    (d_h,), (fresh,) = d_state, saved
    U = weights["weight_hh"].t()
    d_a = ACTIVATIONS[activation][1](fresh)
    for t in reversed(range(len(d_a))):
        (d_fresh,), held = d_hold((d_h + d_outputs[t],), keep, t)
        (d_h,) = add((product(d_a[t].mul_(d_fresh), U),), held)
    return d_a, (d_h,), {"weight_hh": outer(rows(d_a), rows(parts[0][:-1]))}


# gru


def gru_forward(a: Tensor, weights: Weights, state: Parts, keep: Parts | None) -> tuple[Parts, Parts]:
    """r, z = sigma(a + U h); n = tanh(a_n + U_n (r * h)); h_t = z * h + (1 - z) * n."""
    H = state[0].shape[1]
    U_rz, U_n = weights["weight_hh"][: 2 * H], weights["weight_hh"][2 * H :]
    parts = histories(a, state)
    (h,), (r, z, n), (rz,) = steps(*parts), steps(*torch.split(a, H, 2)), steps(a[:, :, : 2 * H])
    reset = torch.empty_like(parts[0][:-1])
    for t, rh in enumerate(reset.unbind()):
        rz[t].add_(product(h[t], U_rz)).sigmoid_()
        n[t].add_(product(torch.mul(r[t], h[t], out=rh), U_n))
        torch.lerp(tanh(n[t], n[t]), h[t], z[t], out=h[t + 1])
        hold((h,), keep, t)
    return parts, (a, reset)


def gru_backward(
    d_outputs: Tensor, d_state: Parts, parts: Parts, saved: Parts, weights: Weights, keep: Parts | None
) -> tuple[Tensor, Parts, dict[str, Tensor]]:
    """Gradient of ``gru_forward``."""
    (d_h,), (gates, reset) = d_state, saved
    H = d_h.shape[1]
    U_rz, U_n = weights["weight_hh"][: 2 * H].t(), weights["weight_hh"][2 * H :].t()
    d_a = torch.empty_like(gates)
    (h,), (r, z, n), (rz,) = steps(*parts), steps(*torch.split(gates, H, 2)), steps(gates[:, :, : 2 * H])
    (d_r, d_z, d_n), (d_rz,) = steps(*torch.split(d_a, H, 2)), steps(d_a[:, :, : 2 * H])
    for t in reversed(range(len(d_a))):
        (d_fresh,), held = d_hold((d_h + d_outputs[t],), keep, t)
        d_h = d_fresh * z[t]
        d_rh = product(d_tanh_(torch.sub(d_fresh, d_h, out=d_n[t]), n[t]), U_n)
        torch.mul(d_rh, h[t], out=d_r[t])
        torch.mul(d_fresh, h[t] - n[t], out=d_z[t])
        d_h.addcmul_(d_rh, r[t]).add_(product(d_sigmoid_(d_rz[t], rz[t]), U_rz))
        (d_h,) = add((d_h,), held)
    return d_a, (d_h,), d_gru_weights(d_a, parts, reset)


def d_gru_weights(d_a: Tensor, parts: Parts, reset: Tensor) -> dict[str, Tensor]:
    """Gradient of the recurrent weights over all steps; ``reset`` is r * h ``(T, B, H)``."""
    H = reset.shape[2]
    d_U_rz = outer(rows(d_a[:, :, : 2 * H]), rows(parts[0][:-1]))
    return {"weight_hh": torch.cat([d_U_rz, outer(rows(d_a[:, :, 2 * H :]), rows(reset))])}


# gru_reset_after


def gru_reset_after_forward(a: Tensor, weights: Weights, state: Parts, keep: Parts | None) -> tuple[Parts, Parts]:
    """r, z = sigma(a + U h); n = tanh(a_n + r * (U_n h + b_hn)); h_t = z * h + (1 - z) * n."""
    H = state[0].shape[1]
    U = weights["weight_hh"]
    bias = torch.cat([U.new_zeros(2 * H), weights["bias_hn"]])
    parts = histories(a, state)
    (h,), (r, z, n), (rz,) = steps(*parts), steps(*torch.split(a, H, 2)), steps(a[:, :, : 2 * H])
    recurrent_n = torch.empty_like(parts[0][:-1])
    for t, u_n in enumerate(recurrent_n.unbind()):
        u = product(h[t], U, bias)
        rz[t].add_(u[:, : 2 * H]).sigmoid_()
        n[t].addcmul_(r[t], u_n.copy_(u[:, 2 * H :]))
        torch.lerp(tanh(n[t], n[t]), h[t], z[t], out=h[t + 1])
        hold((h,), keep, t)
    return parts, (a, recurrent_n)


def gru_reset_after_backward(
    d_outputs: Tensor, d_state: Parts, parts: Parts, saved: Parts, weights: Weights, keep: Parts | None
) -> tuple[Tensor, Parts, dict[str, Tensor]]:
    """Gradient of ``gru_reset_after_forward``."""
    (d_h,), (gates, recurrent_n) = d_state, saved
    H = d_h.shape[1]
    U = weights["weight_hh"].t()
    d_a, d_u = torch.empty_like(gates), torch.empty_like(gates)
    (h,), (r, z, n), (rz,) = steps(*parts), steps(*torch.split(gates, H, 2)), steps(gates[:, :, : 2 * H])
    (d_r, d_z, d_n), (d_rz,) = steps(*torch.split(d_a, H, 2)), steps(d_a[:, :, : 2 * H])
    d_u_rz, d_u_n = steps(d_u[:, :, : 2 * H], d_u[:, :, 2 * H :])
    for t in reversed(range(len(d_a))):
        (d_fresh,), held = d_hold((d_h + d_outputs[t],), keep, t)
        d_h = d_fresh * z[t]
        d_tanh_(torch.sub(d_fresh, d_h, out=d_n[t]), n[t])
        torch.mul(d_n[t], recurrent_n[t], out=d_r[t])
        torch.mul(d_fresh, h[t] - n[t], out=d_z[t])
        d_u_rz[t].copy_(d_sigmoid_(d_rz[t], rz[t]))
        torch.mul(d_n[t], r[t], out=d_u_n[t])
        (d_h,) = add((d_h.add_(product(d_u[t], U)),), held)
    return d_a, (d_h,), d_reset_after_weights(d_u, parts)


def d_reset_after_weights(d_u: Tensor, parts: Parts) -> dict[str, Tensor]:
    """Gradient of the recurrent weights over all steps; ``d_u`` is that of U h + b ``(T, B, 3H)``."""
    d_u_n = d_u[:, :, 2 * parts[0].shape[2] :]
    return {"weight_hh": outer(rows(d_u), rows(parts[0][:-1])), "bias_hn": d_u_n.sum((0, 1))}


# lstm


def lstm_forward(a: Tensor, weights: Weights, state: Parts, keep: Parts | None) -> tuple[Parts, Parts]:
    """i, f, o = sigma(.); g = tanh(.); c_t = f * c + i * g; h_t = o * tanh(c_t)."""
    H = state[0].shape[1]
    U = weights["weight_hh"]
    parts = histories(a, state)
    (h, c), (i, f, g, o), (i_f,) = steps(*parts), steps(*torch.split(a, H, 2)), steps(a[:, :, : 2 * H])
    squashed = torch.empty_like(parts[1][:-1])
    for t, tanh_c in enumerate(squashed.unbind()):
        a[t].add_(product(h[t], U))
        i_f[t].sigmoid_()
        o[t].sigmoid_()
        torch.mul(f[t], c[t], out=c[t + 1]).addcmul_(i[t], tanh(g[t], g[t]))
        torch.mul(o[t], tanh(c[t + 1], tanh_c), out=h[t + 1])
        hold((h, c), keep, t)
    return parts, (a, squashed)


def lstm_backward(
    d_outputs: Tensor, d_state: Parts, parts: Parts, saved: Parts, weights: Weights, keep: Parts | None
) -> tuple[Tensor, Parts, dict[str, Tensor]]:
    """Gradient of ``lstm_forward``."""
    (d_h, d_c), (gates, squashed) = d_state, saved
    H = d_h.shape[1]
    U = weights["weight_hh"].t()
    d_a = torch.empty_like(gates)
    (_, c), (i, f, g, o), (i_f,) = steps(*parts), steps(*torch.split(gates, H, 2)), steps(gates[:, :, : 2 * H])
    (d_i, d_f, d_g, d_o), (d_if,) = steps(*torch.split(d_a, H, 2)), steps(d_a[:, :, : 2 * H])
    for t, tanh_c in reversed(list(enumerate(squashed.unbind()))):
        (d_h, d_c), held = d_hold((d_h + d_outputs[t], d_c), keep, t)
        d_c = d_tanh_(d_h * o[t], tanh_c).add_(d_c)
        torch.mul(d_c, g[t], out=d_i[t])
        torch.mul(d_c, c[t], out=d_f[t])
        d_sigmoid_(d_if[t], i_f[t])
        d_tanh_(torch.mul(d_c, i[t], out=d_g[t]), g[t])
        d_sigmoid_(torch.mul(d_h, tanh_c, out=d_o[t]), o[t])
        d_h, d_c = add((product(d_a[t], U), d_c.mul_(f[t])), held)
    return d_a, (d_h, d_c), {"weight_hh": outer(rows(d_a), rows(parts[0][:-1]))}


# peephole, peephole_diagonal. One product for V_i and V_f measured no faster than one each; joined with U as well it
# would multiply blocks of zeros (U reads h, the two read c), which was counted, not timed.


def see(c: Tensor, V: Tensor) -> Tensor:
    """What a gate sees of the cell ``(B, H)`` through a matrix ``(H, H)`` or its diagonal ``(H,)``."""
    return c * V if V.dim() == 1 else product(c, V)


def d_see(d: Tensor, V: Tensor) -> Tensor:
    """Gradient of ``see`` with respect to the cell."""
    return d * V if V.dim() == 1 else product(d, V.t())


def d_seen(d: Tensor, c: Tensor, V: Tensor) -> Tensor:
    """Gradient of ``see`` with respect to ``V``, over all steps: ``d`` and ``c`` ``(T, B, H)``."""
    return (d * c).sum((0, 1)) if V.dim() == 1 else outer(rows(d), rows(c))


def peephole_forward(a: Tensor, weights: Weights, state: Parts, keep: Parts | None) -> tuple[Parts, Parts]:
    """As ``lstm``, but i and f add V_i c and V_f c of the cell before, o adds V_o c_t of the cell after."""
    H = state[0].shape[1]
    U, V_i, V_f, V_o = (weights[name] for name in ("weight_hh", "weight_ci", "weight_cf", "weight_co"))
    parts = histories(a, state)
    (h, c), (i, f, g, o), (i_f,) = steps(*parts), steps(*torch.split(a, H, 2)), steps(a[:, :, : 2 * H])
    fresh, squashed = torch.empty_like(parts[1][:-1]), torch.empty_like(parts[1][:-1])
    for t, (c_t, tanh_c) in enumerate(zip(fresh.unbind(), squashed.unbind(), strict=True)):
        a[t].add_(product(h[t], U))
        i[t].add_(see(c[t], V_i))
        f[t].add_(see(c[t], V_f))
        i_f[t].sigmoid_()
        torch.mul(f[t], c[t], out=c_t).addcmul_(i[t], tanh(g[t], g[t]))
        o[t].add_(see(c_t, V_o)).sigmoid_()
        torch.mul(o[t], tanh(c_t, tanh_c), out=h[t + 1])
        c[t + 1].copy_(c_t)
        hold((h, c), keep, t)
    return parts, (a, fresh, squashed)


def peephole_backward(
    d_outputs: Tensor, d_state: Parts, parts: Parts, saved: Parts, weights: Weights, keep: Parts | None
) -> tuple[Tensor, Parts, dict[str, Tensor]]:
    """Gradient of ``peephole_forward``."""
    (d_h, d_c), (gates, fresh, squashed) = d_state, saved
    H = d_h.shape[1]
    U, V_i, V_f, V_o = (weights[name] for name in ("weight_hh", "weight_ci", "weight_cf", "weight_co"))
    d_a = torch.empty_like(gates)
    (_, c), (i, f, g, o), (i_f,) = steps(*parts), steps(*torch.split(gates, H, 2)), steps(gates[:, :, : 2 * H])
    (d_i, d_f, d_g, d_o), (d_if,) = steps(*torch.split(d_a, H, 2)), steps(d_a[:, :, : 2 * H])
    for t, tanh_c in reversed(list(enumerate(squashed.unbind()))):
        (d_h, d_c), held = d_hold((d_h + d_outputs[t], d_c), keep, t)
        d_sigmoid_(torch.mul(d_h, tanh_c, out=d_o[t]), o[t])
        d_c = d_tanh_(d_h * o[t], tanh_c).add_(d_c).add_(d_see(d_o[t], V_o))
        torch.mul(d_c, g[t], out=d_i[t])
        torch.mul(d_c, c[t], out=d_f[t])
        d_sigmoid_(d_if[t], i_f[t])
        d_tanh_(torch.mul(d_c, i[t], out=d_g[t]), g[t])
        d_c.mul_(f[t]).add_(d_see(d_i[t], V_i)).add_(d_see(d_f[t], V_f))
        d_h, d_c = add((product(d_a[t], U.t()), d_c), held)
    return d_a, (d_h, d_c), d_peephole_weights(d_a, parts, fresh, weights)


def d_peephole_weights(d_a: Tensor, parts: Parts, fresh: Tensor, weights: Weights) -> dict[str, Tensor]:
    """Gradient of the recurrent weights over all steps; ``fresh`` is the cell that o saw ``(T, B, H)``."""
    before = parts[1][:-1]
    d_i, d_f, _, d_o = torch.split(d_a, fresh.shape[2], 2)
    seen = {"weight_ci": (d_i, before), "weight_cf": (d_f, before), "weight_co": (d_o, fresh)}
    d_weights = {name: d_seen(d, c, weights[name]) for name, (d, c) in seen.items()}
    return {"weight_hh": outer(rows(d_a), rows(parts[0][:-1])), **d_weights}


LOOPS = {
    "gru": Loop(gru_forward, gru_backward),
    "gru_reset_after": Loop(gru_reset_after_forward, gru_reset_after_backward),
    "lstm": Loop(lstm_forward, lstm_backward),
    "peephole": Loop(peephole_forward, peephole_backward),
    "peephole_diagonal": Loop(peephole_forward, peephole_backward),
}
RNN_LOOPS = {name: Loop(partial(rnn_forward, name), partial(rnn_backward, name)) for name in ACTIVATIONS}
