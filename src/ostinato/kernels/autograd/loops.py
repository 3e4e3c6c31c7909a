"""The recurrence of each cell over time, forward and backward, on preallocated tensors: the equations of ``reference``.

``forward`` gets the projected inputs ``a (T, B, G*H)``, which it overwrites with the gates, and gives each state part
as ``(T+1, B, H)``, the initial state first, and what ``backward`` needs. ``backward`` gives the gradient of ``a``, of
the initial state, and of the recurrent weights. ``keep``: per state part ``(T, B, H)``, the share of the old state
that stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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


def hold(parts: Parts, keep: Parts | None, t: int) -> None:
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
    "tanh": (torch.tanh, lambda y: 1 - y * y),
    "relu": (torch.relu, lambda y: (y > 0).to(y.dtype)),
    "leaky_relu": (lambda x: torch.maximum(x, 0.01 * x), lambda y: (y > 0).to(y.dtype).mul_(0.99).add_(0.01)),
    "elu": (torch.nn.functional.elu, lambda y: y.clamp(max=0) + 1),
}


def rnn_forward(activation: str, a: Tensor, weights: Weights, state: Parts, keep: Parts | None) -> tuple[Parts, Parts]:
    """h_t = act(a_t + U h_{t-1})."""
    U, act = weights["weight_hh"], ACTIVATIONS[activation][0]
    (h,) = histories(a, state)
    for t, a_t in enumerate(a):
        a_t.copy_(act(a_t.add_(product(h[t], U))))
        h[t + 1] = a_t
        hold((h,), keep, t)
    return (h,), (a,)


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
    (h,), (fresh,), (d_h,) = parts, saved, d_state
    U = weights["weight_hh"]
    d_a = ACTIVATIONS[activation][1](fresh)
    for t in reversed(range(len(d_a))):
        (d_fresh,), held = d_hold((d_h + d_outputs[t],), keep, t)
        d_h = product(d_a[t].mul_(d_fresh), U.t())
        if held is not None:
            d_h += held[0]
    return d_a, (d_h,), {"weight_hh": outer(rows(d_a), rows(h[:-1]))}


# gru


def gru_forward(a: Tensor, weights: Weights, state: Parts, keep: Parts | None) -> tuple[Parts, Parts]:
    """r, z = sigma(a + U h); n = tanh(a_n + U_n (r * h)); h_t = z * h + (1 - z) * n."""
    H = state[0].shape[1]
    U_rz, U_n = weights["weight_hh"][: 2 * H], weights["weight_hh"][2 * H :]
    (h,) = histories(a, state)
    rh = torch.empty_like(h[:-1])
    for t, a_t in enumerate(a):
        rz = a_t[:, : 2 * H].add_(product(h[t], U_rz)).sigmoid_()
        torch.mul(rz[:, :H], h[t], out=rh[t])
        n = a_t[:, 2 * H :].add_(product(rh[t], U_n)).tanh_()
        torch.lerp(n, h[t], rz[:, H:], out=h[t + 1])
        hold((h,), keep, t)
    return (h,), (a, rh)


def gru_backward(
    d_outputs: Tensor, d_state: Parts, parts: Parts, saved: Parts, weights: Weights, keep: Parts | None
) -> tuple[Tensor, Parts, dict[str, Tensor]]:
    """Gradient of ``gru_forward``."""
    (h,), (gates, rh), (d_h,) = parts, saved, d_state
    H = h.shape[2]
    U_rz, U_n = weights["weight_hh"][: 2 * H].t(), weights["weight_hh"][2 * H :].t()
    d_a = torch.empty_like(gates)
    for t in reversed(range(len(d_a))):
        (d_fresh,), held = d_hold((d_h + d_outputs[t],), keep, t)
        rz, n, d_rz, d_n = gates[t, :, : 2 * H], gates[t, :, 2 * H :], d_a[t, :, : 2 * H], d_a[t, :, 2 * H :]
        r, z = rz[:, :H], rz[:, H:]
        d_h = d_fresh * z
        d_tanh_(torch.sub(d_fresh, d_h, out=d_n), n)
        d_rh = product(d_n, U_n)
        torch.mul(d_rh, h[t], out=d_rz[:, :H])
        torch.mul(d_fresh, h[t] - n, out=d_rz[:, H:])
        d_sigmoid_(d_rz, rz)
        d_h.addcmul_(d_rh, r).add_(product(d_rz, U_rz))
        if held is not None:
            d_h += held[0]
    d_U_rz = outer(rows(d_a[:, :, : 2 * H]), rows(h[:-1]))
    return d_a, (d_h,), {"weight_hh": torch.cat([d_U_rz, outer(rows(d_a[:, :, 2 * H :]), rows(rh))])}


# gru_reset_after


def gru_reset_after_forward(a: Tensor, weights: Weights, state: Parts, keep: Parts | None) -> tuple[Parts, Parts]:
    """r, z = sigma(a + U h); n = tanh(a_n + r * (U_n h + b_hn)); h_t = z * h + (1 - z) * n."""
    H = state[0].shape[1]
    U = weights["weight_hh"]
    bias = torch.cat([U.new_zeros(2 * H), weights["bias_hn"]])
    (h,) = histories(a, state)
    u_n = torch.empty_like(h[:-1])
    for t, a_t in enumerate(a):
        u = product(h[t], U, bias)
        rz = a_t[:, : 2 * H].add_(u[:, : 2 * H]).sigmoid_()
        u_n[t] = u[:, 2 * H :]
        n = a_t[:, 2 * H :].addcmul_(rz[:, :H], u_n[t]).tanh_()
        torch.lerp(n, h[t], rz[:, H:], out=h[t + 1])
        hold((h,), keep, t)
    return (h,), (a, u_n)


def gru_reset_after_backward(
    d_outputs: Tensor, d_state: Parts, parts: Parts, saved: Parts, weights: Weights, keep: Parts | None
) -> tuple[Tensor, Parts, dict[str, Tensor]]:
    """Gradient of ``gru_reset_after_forward``."""
    (h,), (gates, u_n), (d_h,) = parts, saved, d_state
    H = h.shape[2]
    U = weights["weight_hh"].t()
    d_a, d_u = torch.empty_like(gates), torch.empty_like(gates)
    for t in reversed(range(len(d_a))):
        (d_fresh,), held = d_hold((d_h + d_outputs[t],), keep, t)
        rz, n, d_rz, d_n = gates[t, :, : 2 * H], gates[t, :, 2 * H :], d_a[t, :, : 2 * H], d_a[t, :, 2 * H :]
        r, z = rz[:, :H], rz[:, H:]
        d_h = d_fresh * z
        d_tanh_(torch.sub(d_fresh, d_h, out=d_n), n)
        torch.mul(d_n, u_n[t], out=d_rz[:, :H])
        torch.mul(d_fresh, h[t] - n, out=d_rz[:, H:])
        d_u[t, :, : 2 * H] = d_sigmoid_(d_rz, rz)
        torch.mul(d_n, r, out=d_u[t, :, 2 * H :])
        d_h += product(d_u[t], U)
        if held is not None:
            d_h += held[0]
    d_weights = {"weight_hh": outer(rows(d_u), rows(h[:-1])), "bias_hn": d_u[:, :, 2 * H :].sum((0, 1))}
    return d_a, (d_h,), d_weights


# lstm


def lstm_forward(a: Tensor, weights: Weights, state: Parts, keep: Parts | None) -> tuple[Parts, Parts]:
    """i, f, o = sigma(.); g = tanh(.); c_t = f * c + i * g; h_t = o * tanh(c_t)."""
    H = state[0].shape[1]
    U = weights["weight_hh"]
    h, c = histories(a, state)
    tanh_c = torch.empty_like(h[:-1])
    for t, a_t in enumerate(a):
        a_t += product(h[t], U)
        a_t[:, : 2 * H].sigmoid_()
        i, f, g, o = a_t[:, :H], a_t[:, H : 2 * H], a_t[:, 2 * H : 3 * H].tanh_(), a_t[:, 3 * H :].sigmoid_()
        torch.mul(f, c[t], out=c[t + 1]).addcmul_(i, g)
        torch.mul(o, torch.tanh(c[t + 1], out=tanh_c[t]), out=h[t + 1])
        hold((h, c), keep, t)
    return (h, c), (a, tanh_c)


def lstm_backward(
    d_outputs: Tensor, d_state: Parts, parts: Parts, saved: Parts, weights: Weights, keep: Parts | None
) -> tuple[Tensor, Parts, dict[str, Tensor]]:
    """Gradient of ``lstm_forward``."""
    (h, c), (gates, tanh_c), (d_h, d_c) = parts, saved, d_state
    H = h.shape[2]
    U = weights["weight_hh"].t()
    d_a = torch.empty_like(gates)
    for t in reversed(range(len(d_a))):
        (d_h, d_c), held = d_hold((d_h + d_outputs[t], d_c), keep, t)
        i, f, g, o = torch.split(gates[t], H, 1)
        d_i, d_f, d_g, d_o = torch.split(d_a[t], H, 1)
        d_c = d_c + d_tanh_(d_h * o, tanh_c[t])
        torch.mul(d_c, g, out=d_i)
        torch.mul(d_c, c[t], out=d_f)
        d_sigmoid_(d_a[t, :, : 2 * H], gates[t, :, : 2 * H])
        d_tanh_(torch.mul(d_c, i, out=d_g), g)
        d_sigmoid_(torch.mul(d_h, tanh_c[t], out=d_o), o)
        d_h, d_c = product(d_a[t], U), d_c.mul_(f)
        if held is not None:
            d_h, d_c = d_h + held[0], d_c + held[1]
    return d_a, (d_h, d_c), {"weight_hh": outer(rows(d_a), rows(h[:-1]))}


# peephole, peephole_diagonal


def see(c: Tensor, V: Tensor) -> Tensor:
    """What a gate sees of the cell ``(B, H)`` through a matrix ``(K, H)`` or a diagonal ``(H,)``."""
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
    U = weights["weight_hh"]
    V_i, V_f, V_o = (weights[name] for name in ("weight_ci", "weight_cf", "weight_co"))
    h, c = histories(a, state)
    fresh, tanh_c = torch.empty_like(h[:-1]), torch.empty_like(h[:-1])
    for t, a_t in enumerate(a):
        i, f, g, o = torch.split(a_t, H, 1)
        a_t += product(h[t], U)
        i += see(c[t], V_i)
        f += see(c[t], V_f)
        a_t[:, : 2 * H].sigmoid_()
        torch.mul(f, c[t], out=fresh[t]).addcmul_(i, g.tanh_())
        o.add_(see(fresh[t], V_o)).sigmoid_()
        torch.mul(o, torch.tanh(fresh[t], out=tanh_c[t]), out=h[t + 1])
        c[t + 1] = fresh[t]
        hold((h, c), keep, t)
    return (h, c), (a, fresh, tanh_c)


def peephole_backward(
    d_outputs: Tensor, d_state: Parts, parts: Parts, saved: Parts, weights: Weights, keep: Parts | None
) -> tuple[Tensor, Parts, dict[str, Tensor]]:
    """Gradient of ``peephole_forward``."""
    (h, c), (gates, fresh, tanh_c), (d_h, d_c) = parts, saved, d_state
    H = h.shape[2]
    U = weights["weight_hh"].t()
    V_i, V_f, V_o = (weights[name] for name in ("weight_ci", "weight_cf", "weight_co"))
    d_a = torch.empty_like(gates)
    for t in reversed(range(len(d_a))):
        (d_h, d_c), held = d_hold((d_h + d_outputs[t], d_c), keep, t)
        i, f, g, o = torch.split(gates[t], H, 1)
        d_i, d_f, d_g, d_o = torch.split(d_a[t], H, 1)
        d_sigmoid_(torch.mul(d_h, tanh_c[t], out=d_o), o)
        d_c = d_see(d_o, V_o).add_(d_c).add_(d_tanh_(d_h * o, tanh_c[t]))
        torch.mul(d_c, g, out=d_i)
        torch.mul(d_c, c[t], out=d_f)
        d_sigmoid_(d_a[t, :, : 2 * H], gates[t, :, : 2 * H])
        d_tanh_(torch.mul(d_c, i, out=d_g), g)
        d_h = product(d_a[t], U)
        d_c = d_c.mul_(f).add_(d_see(d_i, V_i)).add_(d_see(d_f, V_f))
        if held is not None:
            d_h, d_c = d_h + held[0], d_c + held[1]
    d_i, d_f, _, d_o = torch.split(d_a, H, 2)
    d_weights = {"weight_hh": outer(rows(d_a), rows(h[:-1])), "weight_ci": d_seen(d_i, c[:-1], V_i)}
    d_weights |= {"weight_cf": d_seen(d_f, c[:-1], V_f), "weight_co": d_seen(d_o, fresh, V_o)}
    return d_a, (d_h, d_c), d_weights


LOOPS = {
    "gru": Loop(gru_forward, gru_backward),
    "gru_reset_after": Loop(gru_reset_after_forward, gru_reset_after_backward),
    "lstm": Loop(lstm_forward, lstm_backward),
    "peephole": Loop(peephole_forward, peephole_backward),
    "peephole_diagonal": Loop(peephole_forward, peephole_backward),
}
RNN_LOOPS = {name: Loop(partial(rnn_forward, name), partial(rnn_backward, name)) for name in ACTIVATIONS}
