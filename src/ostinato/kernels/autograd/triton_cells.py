"""The recurrences as Triton kernels: the equations of ``reference``, forward and backward, float32.

A program computes some units of some rows at every time: ``row`` and ``unit`` are its own. What it needs of the others'
units it reads from memory, after all who share its rows have met. So a layer is one launch, and all its programs must
run at once. Sequences are ``(T, B, .)`` without gaps; a pointer to one moves by ``B * width`` a step. ``keep`` is the
share of the state before that stays (zoneout, rows that have ended).
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def meet(arrived, target):
    """Go on when ``target`` have arrived: what they wrote before, all may read."""
    tl.debug_barrier()
    tl.atomic_add(arrived, 1, sem="release", scope="gpu")
    while tl.atomic_add(arrived, 0, sem="acquire", scope="gpu") < target:
        pass
    tl.debug_barrier()


@triton.jit
def sigmoid(x):
    """The logistic function."""
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def tanh(x):
    """tanh, by the logistic function: off by 1e-7 at most."""
    return 2.0 / (1.0 + tl.exp(-2.0 * x)) - 1.0


@triton.jit
def part(width, row, unit, B, H):
    """Where own rows and units stand in a ``(B, width)`` matrix, and which of them are there."""
    return row[:, None] * width + unit[None, :], (row[:, None] < B) & (unit[None, :] < H)


@triton.jit
def rows_of(x, width, row, k, B, K):
    """``x[row, k]`` of a matrix that others write: from the cache that all share."""
    there = (row[:, None] < B) & (k[None, :] < K)
    return tl.load(x + row[:, None] * width + k[None, :], there, 0.0, cache_modifier=".cg")


@triton.jit
def seen(w, row_step, k_step, unit, k, H, K):
    """``w[unit, k]`` as ``(k, unit)``."""
    there = (k[:, None] < K) & (unit[None, :] < H)
    return tl.load(w + k[:, None] * k_step + unit[None, :] * row_step, there, 0.0)


@triton.jit
def times(x, width, w, row_step, k_step, row, unit, B, H, K, DEPTH: tl.constexpr, PRECISION: tl.constexpr):
    """``sum_k x[row, k] w[unit, k]`` over ``K``."""
    total = tl.zeros((row.shape[0], unit.shape[0]), tl.float32)
    for start in range(0, K, DEPTH):
        k = start + tl.arange(0, DEPTH)
        total += tl.dot(
            rows_of(x, width, row, k, B, K), seen(w, row_step, k_step, unit, k, H, K), input_precision=PRECISION
        )
    return total


@triton.jit
def activated(x, ACTIVATION: tl.constexpr):
    """The activation of ``x``."""
    if ACTIVATION == "tanh":
        return tanh(x)
    elif ACTIVATION == "relu":
        return tl.maximum(x, 0.0, propagate_nan=tl.PropagateNan.ALL)
    elif ACTIVATION == "leaky_relu":
        return tl.maximum(x, 0.01 * x, propagate_nan=tl.PropagateNan.ALL)
    else:
        return tl.where(x > 0, x, tl.exp(tl.minimum(x, 0.0, propagate_nan=tl.PropagateNan.ALL)) - 1.0)


@triton.jit
def slope(y, ACTIVATION: tl.constexpr):
    """Derivative of the activation whose value is ``y``."""
    if ACTIVATION == "tanh":
        return 1.0 - y * y
    elif ACTIVATION == "relu":
        return tl.where(y > 0, 1.0, 0.0)
    elif ACTIVATION == "leaky_relu":
        return tl.where(y > 0, 1.0, 0.01)
    else:
        return tl.minimum(y, 0.0) + 1.0


# rnn


@triton.jit
def rnn_forward(
    a, h, U, keep_h, arrived, T, B, H,
    ACTIVATION: tl.constexpr, KEEP: tl.constexpr,
    ROWS: tl.constexpr, UNITS: tl.constexpr, DEPTH: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """h_t = act(a_t + U h_{t-1}); ``a`` becomes h_t before anything is kept."""
    row, unit = tl.program_id(1) * ROWS + tl.arange(0, ROWS), tl.program_id(0) * UNITS + tl.arange(0, UNITS)
    own, there = part(H, row, unit, B, H)
    h_own = tl.load(h + own, there, 0.0)
    for t in range(T):
        y = tl.load(a + own, there, 0.0) + times(h, H, U, H, 1, row, unit, B, H, H, DEPTH, PRECISION)
        y = activated(y, ACTIVATION)
        tl.store(a + own, y, there)
        if KEEP:
            k = tl.load(keep_h + own, there, 0.0)
            y += k * (h_own - y)
        h_own = y
        h += B * H
        tl.store(h + own, h_own, there)
        meet(arrived + tl.program_id(1), (t + 1) * tl.num_programs(0))
        a += B * H
        keep_h += B * H


@triton.jit
def rnn_backward(
    a, d_a, d_outputs, d_h, U, keep_h, arrived, T, B, H,
    ACTIVATION: tl.constexpr, KEEP: tl.constexpr,
    ROWS: tl.constexpr, UNITS: tl.constexpr, DEPTH: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradient of ``rnn_forward``; sequences begin at their last step, ``d_h`` becomes that of the state before."""
    row, unit = tl.program_id(1) * ROWS + tl.arange(0, ROWS), tl.program_id(0) * UNITS + tl.arange(0, UNITS)
    own, there = part(H, row, unit, B, H)
    d_own = tl.load(d_h + own, there, 0.0)
    for t in range(T):
        d_own += tl.load(d_outputs + own, there, 0.0)
        held = tl.zeros_like(d_own)
        if KEEP:
            held = tl.load(keep_h + own, there, 0.0) * d_own
        tl.store(d_a + own, (d_own - held) * slope(tl.load(a + own, there, 0.0), ACTIVATION), there)
        meet(arrived + tl.program_id(1), (t + 1) * tl.num_programs(0))
        d_own = held + times(d_a, H, U, 1, H, row, unit, B, H, H, DEPTH, PRECISION)
        a -= B * H
        d_a -= B * H
        d_outputs -= B * H
        keep_h -= B * H
    tl.store(d_h + own, d_own, there)


# gru


@triton.jit
def gru_forward(
    a, h, reset, U, keep_h, arrived, T, B, H,
    KEEP: tl.constexpr, ROWS: tl.constexpr, UNITS: tl.constexpr, DEPTH: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """r, z = sigma(a + U h); n = tanh(a_n + U_n (r * h)); h_t = z * h + (1 - z) * n; ``reset`` gets r * h."""
    row, unit = tl.program_id(1) * ROWS + tl.arange(0, ROWS), tl.program_id(0) * UNITS + tl.arange(0, UNITS)
    own, there = part(H, row, unit, B, H)
    gate, _ = part(3 * H, row, unit, B, H)
    U_n = U + 2 * H * H
    h_own = tl.load(h + own, there, 0.0)
    for t in range(T):
        r = tl.load(a + gate, there, 0.0)
        z = tl.load(a + gate + H, there, 0.0)
        for start in range(0, H, DEPTH):
            k = start + tl.arange(0, DEPTH)
            x = rows_of(h, H, row, k, B, H)
            r += tl.dot(x, seen(U, H, 1, unit, k, H, H), input_precision=PRECISION)
            z += tl.dot(x, seen(U + H * H, H, 1, unit, k, H, H), input_precision=PRECISION)
        r, z = sigmoid(r), sigmoid(z)
        tl.store(reset + own, r * h_own, there)
        meet(arrived + tl.program_id(1), (2 * t + 1) * tl.num_programs(0))
        n = tl.load(a + gate + 2 * H, there, 0.0)
        n = tanh(n + times(reset, H, U_n, H, 1, row, unit, B, H, H, DEPTH, PRECISION))
        tl.store(a + gate, r, there)
        tl.store(a + gate + H, z, there)
        tl.store(a + gate + 2 * H, n, there)
        y = n + z * (h_own - n)
        if KEEP:
            k_h = tl.load(keep_h + own, there, 0.0)
            y += k_h * (h_own - y)
        h_own = y
        h += B * H
        tl.store(h + own, h_own, there)
        meet(arrived + tl.program_id(1), (2 * t + 2) * tl.num_programs(0))
        a += 3 * B * H
        reset += B * H
        keep_h += B * H


@triton.jit
def gru_backward(
    a, h, d_a, d_outputs, d_h, U, keep_h, arrived, T, B, H,
    KEEP: tl.constexpr, ROWS: tl.constexpr, UNITS: tl.constexpr, DEPTH: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradient of ``gru_forward``; sequences begin at their last step, ``h`` at the state before it."""
    row, unit = tl.program_id(1) * ROWS + tl.arange(0, ROWS), tl.program_id(0) * UNITS + tl.arange(0, UNITS)
    own, there = part(H, row, unit, B, H)
    gate, _ = part(3 * H, row, unit, B, H)
    U_n = U + 2 * H * H
    d_own = tl.load(d_h + own, there, 0.0)
    for t in range(T):
        before = tl.load(h + own, there, 0.0)
        r = tl.load(a + gate, there, 0.0)
        z = tl.load(a + gate + H, there, 0.0)
        n = tl.load(a + gate + 2 * H, there, 0.0)
        d_own += tl.load(d_outputs + own, there, 0.0)
        held = tl.zeros_like(d_own)
        if KEEP:
            held = tl.load(keep_h + own, there, 0.0) * d_own
        d_own -= held
        tl.store(d_a + gate + H, d_own * (before - n) * z * (1.0 - z), there)
        tl.store(d_a + gate + 2 * H, d_own * (1.0 - z) * (1.0 - n * n), there)
        meet(arrived + tl.program_id(1), (2 * t + 1) * tl.num_programs(0))
        d_reset = times(d_a + 2 * H, 3 * H, U_n, 1, H, row, unit, B, H, H, DEPTH, PRECISION)
        tl.store(d_a + gate, d_reset * before * r * (1.0 - r), there)
        meet(arrived + tl.program_id(1), (2 * t + 2) * tl.num_programs(0))
        d_own = held + d_own * z + d_reset * r
        d_own += times(d_a, 3 * H, U, 1, H, row, unit, B, H, 2 * H, DEPTH, PRECISION)
        a -= 3 * B * H
        h -= B * H
        d_a -= 3 * B * H
        d_outputs -= B * H
        keep_h -= B * H
    tl.store(d_h + own, d_own, there)


# gru_reset_after


@triton.jit
def gru_reset_after_forward(
    a, h, u, U, b_hn, keep_h, arrived, T, B, H,
    KEEP: tl.constexpr, ROWS: tl.constexpr, UNITS: tl.constexpr, DEPTH: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """r, z = sigma(a + U h); n = tanh(a_n + r * (U_n h + b_hn)); h_t = z * h + (1 - z) * n; ``u`` gets U_n h + b_hn."""
    row, unit = tl.program_id(1) * ROWS + tl.arange(0, ROWS), tl.program_id(0) * UNITS + tl.arange(0, UNITS)
    own, there = part(H, row, unit, B, H)
    gate, _ = part(3 * H, row, unit, B, H)
    h_own = tl.load(h + own, there, 0.0)
    bias = tl.zeros_like(h_own) + tl.load(b_hn + unit, unit < H, 0.0)[None, :]
    for t in range(T):
        r = tl.load(a + gate, there, 0.0)
        z = tl.load(a + gate + H, there, 0.0)
        u_n = bias
        for start in range(0, H, DEPTH):
            k = start + tl.arange(0, DEPTH)
            x = rows_of(h, H, row, k, B, H)
            r += tl.dot(x, seen(U, H, 1, unit, k, H, H), input_precision=PRECISION)
            z += tl.dot(x, seen(U + H * H, H, 1, unit, k, H, H), input_precision=PRECISION)
            u_n += tl.dot(x, seen(U + 2 * H * H, H, 1, unit, k, H, H), input_precision=PRECISION)
        r, z = sigmoid(r), sigmoid(z)
        n = tanh(tl.load(a + gate + 2 * H, there, 0.0) + r * u_n)
        tl.store(u + own, u_n, there)
        tl.store(a + gate, r, there)
        tl.store(a + gate + H, z, there)
        tl.store(a + gate + 2 * H, n, there)
        y = n + z * (h_own - n)
        if KEEP:
            k_h = tl.load(keep_h + own, there, 0.0)
            y += k_h * (h_own - y)
        h_own = y
        h += B * H
        tl.store(h + own, h_own, there)
        meet(arrived + tl.program_id(1), (t + 1) * tl.num_programs(0))
        a += 3 * B * H
        u += B * H
        keep_h += B * H


@triton.jit
def gru_reset_after_backward(
    a, h, u, d_a, d_u, d_outputs, d_h, U, keep_h, arrived, T, B, H,
    KEEP: tl.constexpr, ROWS: tl.constexpr, UNITS: tl.constexpr, DEPTH: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradient of ``gru_reset_after_forward``, as that of ``gru``; ``d_u`` is the gradient of U h ``(T, B, 3H)``."""
    row, unit = tl.program_id(1) * ROWS + tl.arange(0, ROWS), tl.program_id(0) * UNITS + tl.arange(0, UNITS)
    own, there = part(H, row, unit, B, H)
    gate, _ = part(3 * H, row, unit, B, H)
    d_own = tl.load(d_h + own, there, 0.0)
    for t in range(T):
        r = tl.load(a + gate, there, 0.0)
        z = tl.load(a + gate + H, there, 0.0)
        n = tl.load(a + gate + 2 * H, there, 0.0)
        d_own += tl.load(d_outputs + own, there, 0.0)
        held = tl.zeros_like(d_own)
        if KEEP:
            held = tl.load(keep_h + own, there, 0.0) * d_own
        d_own -= held
        d_n = d_own * (1.0 - z) * (1.0 - n * n)
        d_r = d_n * tl.load(u + own, there, 0.0) * r * (1.0 - r)
        d_z = d_own * (tl.load(h + own, there, 0.0) - n) * z * (1.0 - z)
        tl.store(d_a + gate, d_r, there)
        tl.store(d_a + gate + H, d_z, there)
        tl.store(d_a + gate + 2 * H, d_n, there)
        tl.store(d_u + gate, d_r, there)
        tl.store(d_u + gate + H, d_z, there)
        tl.store(d_u + gate + 2 * H, d_n * r, there)
        meet(arrived + tl.program_id(1), (t + 1) * tl.num_programs(0))
        d_own = held + d_own * z + times(d_u, 3 * H, U, 1, H, row, unit, B, H, 3 * H, DEPTH, PRECISION)
        a -= 3 * B * H
        h -= B * H
        u -= B * H
        d_a -= 3 * B * H
        d_u -= 3 * B * H
        d_outputs -= B * H
        keep_h -= B * H
    tl.store(d_h + own, d_own, there)


# lstm, peephole_diagonal, peephole


@triton.jit
def through(d, V, unit, H):
    """``d * V`` for a diagonal ``V (H,)``."""
    return d * tl.load(V + unit, unit < H, 0.0)[None, :]


@triton.jit
def lstm_forward(
    a, h, c, fresh, U, V_i, V_f, V_o, keep_h, keep_c, arrived, T, B, H,
    PEEPHOLES: tl.constexpr, KEEP: tl.constexpr,
    ROWS: tl.constexpr, UNITS: tl.constexpr, DEPTH: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """i, f = sigma(. + V c_{t-1}); c_t = f * c + i * g; o = sigma(. + V_o c_t); h_t = o * tanh(c_t).

    ``PEEPHOLES``: "none", "diagonal" with ``V (H,)``, "full" with ``V (H, H)``. ``fresh`` gets c_t before any is kept.
    """
    row, unit = tl.program_id(1) * ROWS + tl.arange(0, ROWS), tl.program_id(0) * UNITS + tl.arange(0, UNITS)
    own, there = part(H, row, unit, B, H)
    gate, _ = part(4 * H, row, unit, B, H)
    h_own, c_own = tl.load(h + own, there, 0.0), tl.load(c + own, there, 0.0)
    target = 0
    for _ in range(T):
        i = tl.load(a + gate, there, 0.0)
        f = tl.load(a + gate + H, there, 0.0)
        g = tl.load(a + gate + 2 * H, there, 0.0)
        o = tl.load(a + gate + 3 * H, there, 0.0)
        for start in range(0, H, DEPTH):
            k = start + tl.arange(0, DEPTH)
            x = rows_of(h, H, row, k, B, H)
            i += tl.dot(x, seen(U, H, 1, unit, k, H, H), input_precision=PRECISION)
            f += tl.dot(x, seen(U + H * H, H, 1, unit, k, H, H), input_precision=PRECISION)
            g += tl.dot(x, seen(U + 2 * H * H, H, 1, unit, k, H, H), input_precision=PRECISION)
            o += tl.dot(x, seen(U + 3 * H * H, H, 1, unit, k, H, H), input_precision=PRECISION)
            if PEEPHOLES == "full":
                x = rows_of(c, H, row, k, B, H)
                i += tl.dot(x, seen(V_i, H, 1, unit, k, H, H), input_precision=PRECISION)
                f += tl.dot(x, seen(V_f, H, 1, unit, k, H, H), input_precision=PRECISION)
        if PEEPHOLES == "diagonal":
            i += through(c_own, V_i, unit, H)
            f += through(c_own, V_f, unit, H)
        i, f, g = sigmoid(i), sigmoid(f), tanh(g)
        c_t = f * c_own + i * g
        tl.store(fresh + own, c_t, there)
        if PEEPHOLES == "full":
            target += tl.num_programs(0)
            meet(arrived + tl.program_id(1), target)
            o += times(fresh, H, V_o, H, 1, row, unit, B, H, H, DEPTH, PRECISION)
        elif PEEPHOLES == "diagonal":
            o += through(c_t, V_o, unit, H)
        o = sigmoid(o)
        tl.store(a + gate, i, there)
        tl.store(a + gate + H, f, there)
        tl.store(a + gate + 2 * H, g, there)
        tl.store(a + gate + 3 * H, o, there)
        h_t = o * tanh(c_t)
        if KEEP:
            h_t += tl.load(keep_h + own, there, 0.0) * (h_own - h_t)
            c_t += tl.load(keep_c + own, there, 0.0) * (c_own - c_t)
        h_own, c_own = h_t, c_t
        h += B * H
        c += B * H
        tl.store(h + own, h_own, there)
        tl.store(c + own, c_own, there)
        target += tl.num_programs(0)
        meet(arrived + tl.program_id(1), target)
        a += 4 * B * H
        fresh += B * H
        keep_h += B * H
        keep_c += B * H


@triton.jit
def lstm_backward(
    a, c, fresh, d_a, d_outputs, d_h, d_c, U, V_i, V_f, V_o, keep_h, keep_c, arrived, T, B, H,
    PEEPHOLES: tl.constexpr, KEEP: tl.constexpr,
    ROWS: tl.constexpr, UNITS: tl.constexpr, DEPTH: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradient of ``lstm_forward``; sequences begin at their last step, ``c`` at the state before it."""
    row, unit = tl.program_id(1) * ROWS + tl.arange(0, ROWS), tl.program_id(0) * UNITS + tl.arange(0, UNITS)
    own, there = part(H, row, unit, B, H)
    gate, _ = part(4 * H, row, unit, B, H)
    d_h_own, d_c_own = tl.load(d_h + own, there, 0.0), tl.load(d_c + own, there, 0.0)
    target = 0
    for _ in range(T):
        i = tl.load(a + gate, there, 0.0)
        f = tl.load(a + gate + H, there, 0.0)
        g = tl.load(a + gate + 2 * H, there, 0.0)
        o = tl.load(a + gate + 3 * H, there, 0.0)
        squashed = tanh(tl.load(fresh + own, there, 0.0))
        d_h_own += tl.load(d_outputs + own, there, 0.0)
        held_h, held_c = tl.zeros_like(d_h_own), tl.zeros_like(d_c_own)
        if KEEP:
            held_h = tl.load(keep_h + own, there, 0.0) * d_h_own
            held_c = tl.load(keep_c + own, there, 0.0) * d_c_own
        d_h_own -= held_h
        d_c_own -= held_c
        d_o = d_h_own * squashed * o * (1.0 - o)
        tl.store(d_a + gate + 3 * H, d_o, there)
        d_c_own += d_h_own * o * (1.0 - squashed * squashed)
        if PEEPHOLES == "full":
            target += tl.num_programs(0)
            meet(arrived + tl.program_id(1), target)
            d_c_own += times(d_a + 3 * H, 4 * H, V_o, 1, H, row, unit, B, H, H, DEPTH, PRECISION)
        elif PEEPHOLES == "diagonal":
            d_c_own += through(d_o, V_o, unit, H)
        d_i = d_c_own * g * i * (1.0 - i)
        d_f = d_c_own * tl.load(c + own, there, 0.0) * f * (1.0 - f)
        tl.store(d_a + gate, d_i, there)
        tl.store(d_a + gate + H, d_f, there)
        tl.store(d_a + gate + 2 * H, d_c_own * i * (1.0 - g * g), there)
        target += tl.num_programs(0)
        meet(arrived + tl.program_id(1), target)
        d_h_own = held_h + times(d_a, 4 * H, U, 1, H, row, unit, B, H, 4 * H, DEPTH, PRECISION)
        d_c_own = held_c + d_c_own * f
        if PEEPHOLES == "full":
            d_c_own += times(d_a, 4 * H, V_i, 1, H, row, unit, B, H, H, DEPTH, PRECISION)
            d_c_own += times(d_a + H, 4 * H, V_f, 1, H, row, unit, B, H, H, DEPTH, PRECISION)
        elif PEEPHOLES == "diagonal":
            d_c_own += through(d_i, V_i, unit, H) + through(d_f, V_f, unit, H)
        a -= 4 * B * H
        c -= B * H
        fresh -= B * H
        d_a -= 4 * B * H
        d_outputs -= B * H
        keep_h -= B * H
        keep_c -= B * H
    tl.store(d_h + own, d_h_own, there)
    tl.store(d_c + own, d_c_own, there)
