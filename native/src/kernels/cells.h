// The cells over a sequence, forward and backward: the equations of kernels/reference.py, a screen each.
//
// Backward the gradients of the gates take the gates' place, each read before it is overwritten.
//
// A member of the team computes its own units of its own rows. What the product of a step reads, all members with the
// same rows have written: between the two they meet. Past a row's length, and where `keep` says so, the old state stays.
#pragma once

#include <vector>

#include "../../include/ostinato/core.h"
#include "functions.h"
#include "team.h"

namespace ost::OST_ISA {

// One layer: its arrays by time and row.
struct Layer : ost_layer {
    explicit Layer(const ost_layer &l) : ost_layer(l) {}

    int G() const { return cell <= OST_RNN_ELU ? 1 : (cell <= OST_GRU_RESET_AFTER ? 3 : 4); }
    ptrdiff_t width() const { return static_cast<ptrdiff_t>(G()) * H; }
    bool live(int t, int row) const { return !lengths || t < lengths[row]; }

    // When the nth step is taken; the state (B, H) before and after the step at t.
    int time(int step) const { return reversed ? T - 1 - step : step; }
    template <class P>
    P *before(P *part, int t) const {
        return at(part, reversed ? t + 1 : t);
    }
    template <class P>
    P *after(P *part, int t) const {
        return at(part, reversed ? t : t + 1);
    }

    // (B, H) at step t of an array (.., B, H), or (B, G*H) of the gates.
    template <class P>
    P *at(P *array, int t) const {
        return array + static_cast<ptrdiff_t>(t) * B * H;
    }
    template <class P>
    P *gates_at(P *array, int t) const {
        return array + static_cast<ptrdiff_t>(t) * B * width();
    }
    // The element of gate g, row, unit in (B, G*H); of row, unit in (B, H).
    ptrdiff_t of(int row, int g, int unit) const { return row * width() + g * H + unit; }
    ptrdiff_t of(int row, int unit) const { return static_cast<ptrdiff_t>(row) * H + unit; }

    // The new value of a part of the state: what `keep` leaves of the one before, and of the fresh one the rest.
    void settle(float *part, const float *keep, int t, int row, int unit, int n, F fresh) const {
        const ptrdiff_t i = of(row, unit);
        const F old = load(before(part, t) + i, n);
        if (keep) {  // all of the old or all of the fresh one, to the bit, at 1 and at 0
            const F k = load(at(keep, t) + i, n);
            fresh = fma(k, old, (1.0f - k) * fresh);
        }
        store(after(part, t) + i, live(t, row) ? fresh : old, n);
    }

    // Splits the gradient of a state in what goes to the fresh one, returned, and what stays with the one before, left
    // in `d`.
    F unsettle(float *d, const float *keep, int t, int row, int unit, int n, F total) const {
        const ptrdiff_t i = of(row, unit);
        const F held = keep ? load(at(keep, t) + i, n) * total : F{};
        store(d + i, held, n);
        return total - held;
    }

    F d_output(int t, int row, int unit, int n) const {
        const ptrdiff_t i = of(row, unit);
        return load(d_h + i, n) + load(at(d_outputs, t) + i, n);
    }

    // Past its length a row has no gradient but that of its state, which stays as it is.
    void no_gradient(int t, int row, int unit, int n) const {
        for (int g = 0; g < G(); g++) store(gates_at(gates, t) + of(row, g, unit), F{}, n);
        if (cell == OST_GRU_RESET_AFTER) store(at(extra, t) + of(row, unit), F{}, n);
    }

    // The rows of U from gate `g` on: as a product with a state reads them, and as one with the gradient of `count` gates.
    const float *U(int g) const { return weight_hh + static_cast<ptrdiff_t>(g) * H * H; }
    Matrix recurrent(int g, int count) const {
        Matrix m{{}, H, 1, H};
        for (int i = 0; i < count; i++) m.gates[static_cast<size_t>(i)] = U(g + i);
        return m;
    }
    Matrix recurrent_backward(int g, int count) const { return {{U(g)}, count * H, H, 1}; }
    Matrix peephole(const float *V, const float *V_next = nullptr) const { return {{V, V_next}, H, 1, H}; }
    Matrix peephole_backward(const float *V) const { return {{V}, H, H, 1}; }
    Source state(const float *part, int t) const { return {before(part, t), H, H}; }
    Source extras(int t) const { return {at(extra, t), H, H}; }
    Source gradient(int t, int g, int count) const { return {gates_at(gates, t) + g * H, width(), count * H}; }
};

inline F d_sigmoid(F y) { return y * (1.0f - y); }
inline F d_tanh(F y) { return 1.0f - y * y; }

// Adds a product to an array (B, H).
inline auto add_to(const Layer &l, float *sum) {
    return [&l, sum](int row, int unit, int n, const float *product) {
        float *at = sum + l.of(row, unit);
        store(at, load(at, n) + load(product), n);
    };
}

// Each cell says which panels it needs, and what a member does in all steps. `room` is scratch (B, H) of the backward
// pass, for all members.
using AllPanels = std::vector<Panels>;

// rnn: h_t = act(a_t + U h)

struct Tanh {
    static F act(F x) { return tanh(x); }
    static F derivative(F y) { return d_tanh(y); }
};
struct Relu {
    static F act(F x) { return max(x, F{}); }
    static F derivative(F y) { return y > 0.0f ? all(1.0f) : F{}; }
};
struct LeakyRelu {
    static F act(F x) { return max(x, 0.01f * x); }
    static F derivative(F y) { return y > 0.0f ? all(1.0f) : all(0.01f); }
};
struct Elu {
    static F act(F x) { return x > 0.0f ? x : expm1(min(x, F{})); }
    static F derivative(F y) { return min(y, F{}) + 1.0f; }
};

template <class Activation>
struct Rnn {
    static AllPanels forward_panels(const Layer &l) { return {{0, l.H, {l.recurrent(0, 1)}}}; }
    static AllPanels backward_panels(const Layer &l) { return {{0, l.H, {l.recurrent_backward(0, 1)}}}; }

    static void forward(const Layer &l, const Member &me, const AllPanels &panels, float *) {
        for (int step = 0; step < l.T; step++) {
            const int t = l.time(step);
            float *a = l.gates_at(l.gates, t);
            me.multiply(panels[0], {l.state(l.h, t)}, [&](int row, int unit, int n, const float *sum) {
                float *at = a + l.of(row, unit);
                const F h = Activation::act(load(at, n) + load(sum));
                store(at, h, n);
                l.settle(l.h, l.keep_h, t, row, unit, n, h);
            });
            me.meet();
        }
    }

    static void backward(const Layer &l, const Member &me, const AllPanels &panels, float *) {
        for (int step = l.T - 1; step >= 0; step--) {
            const int t = l.time(step);
            float *a = l.gates_at(l.gates, t);
            me.each(l.H, [&](int row, int unit, int n) {
                if (!l.live(t, row)) return l.no_gradient(t, row, unit, n);
                const F d = l.unsettle(l.d_h, l.keep_h, t, row, unit, n, l.d_output(t, row, unit, n));
                const ptrdiff_t i = l.of(row, unit);
                store(a + i, d * Activation::derivative(load(a + i, n)), n);
            });
            me.meet();
            me.multiply(panels[0], {l.gradient(t, 0, 1)}, add_to(l, l.d_h));
        }
    }
};

// gru: r, z = sigma(a + U h); n = tanh(a_n + U_n (r * h)); h_t = z * h + (1 - z) * n

struct Gru {
    static AllPanels forward_panels(const Layer &l) { return {{2, l.H, {l.recurrent(0, 2)}}, {0, l.H, {l.recurrent(2, 1)}}}; }
    static AllPanels backward_panels(const Layer &l) {
        return {{0, l.H, {l.recurrent_backward(2, 1)}}, {0, l.H, {l.recurrent_backward(0, 2)}}};
    }

    static void forward(const Layer &l, const Member &me, const AllPanels &panels, float *) {
        for (int step = 0; step < l.T; step++) {
            const int t = l.time(step);
            float *a = l.gates_at(l.gates, t), *rh = l.at(l.extra, t);
            const float *before = l.before(l.h, t);
            me.multiply(panels[0], {l.state(l.h, t)}, [&](int row, int unit, int n, const float *sum) {
                float *at_r = a + l.of(row, 0, unit), *at_z = a + l.of(row, 1, unit);
                const F r = sigmoid(load(at_r, n) + load(sum));
                store(at_r, r, n);
                store(at_z, sigmoid(load(at_z, n) + load(sum + W)), n);
                store(rh + l.of(row, unit), r * load(before + l.of(row, unit), n), n);
            });
            me.meet();
            me.multiply(panels[1], {l.extras(t)}, [&](int row, int unit, int n, const float *sum) {
                float *at_n = a + l.of(row, 2, unit);
                const F z = load(a + l.of(row, 1, unit), n), g = tanh(load(at_n, n) + load(sum));
                store(at_n, g, n);
                l.settle(l.h, l.keep_h, t, row, unit, n, fma(z, load(before + l.of(row, unit), n) - g, g));
            });
            me.meet();
        }
    }

    static void backward(const Layer &l, const Member &me, const AllPanels &panels, float *) {
        for (int step = l.T - 1; step >= 0; step--) {
            const int t = l.time(step);
            float *a = l.gates_at(l.gates, t);
            const float *before = l.before(l.h, t);
            me.each(l.H, [&](int row, int unit, int n) {
                if (!l.live(t, row)) return l.no_gradient(t, row, unit, n);
                const F d = l.unsettle(l.d_h, l.keep_h, t, row, unit, n, l.d_output(t, row, unit, n));
                const F z = load(a + l.of(row, 1, unit), n), g = load(a + l.of(row, 2, unit), n);
                const F h = load(before + l.of(row, unit), n);
                store(a + l.of(row, 1, unit), d * (h - g) * d_sigmoid(z), n);
                store(a + l.of(row, 2, unit), d * (1.0f - z) * d_tanh(g), n);
                float *d_h = l.d_h + l.of(row, unit);
                store(d_h, fma(d, z, load(d_h, n)), n);
            });
            me.meet();
            me.multiply(panels[0], {l.gradient(t, 2, 1)}, [&](int row, int unit, int n, const float *d_rh) {
                if (!l.live(t, row)) return;
                const F r = load(a + l.of(row, 0, unit), n), h = load(before + l.of(row, unit), n);
                store(a + l.of(row, 0, unit), load(d_rh) * h * d_sigmoid(r), n);
                float *d_h = l.d_h + l.of(row, unit);
                store(d_h, fma(load(d_rh), r, load(d_h, n)), n);
            });
            me.meet();
            me.multiply(panels[1], {l.gradient(t, 0, 2)}, add_to(l, l.d_h));
        }
    }
};

// gru_reset_after: r, z as gru; n = tanh(a_n + r * u), u = U_n h + b_hn; h_t = z * h + (1 - z) * n

struct GruResetAfter {
    static AllPanels forward_panels(const Layer &l) { return {{3, l.H, {l.recurrent(0, 3)}}}; }
    static AllPanels backward_panels(const Layer &l) {
        return {{0, l.H, {l.recurrent_backward(0, 2), l.recurrent_backward(2, 1)}}};
    }

    static void forward(const Layer &l, const Member &me, const AllPanels &panels, float *) {
        for (int step = 0; step < l.T; step++) {
            const int t = l.time(step);
            float *a = l.gates_at(l.gates, t), *recurrent_n = l.at(l.extra, t);
            const float *before = l.before(l.h, t);
            me.multiply(panels[0], {l.state(l.h, t)}, [&](int row, int unit, int n, const float *sum) {
                float *at_r = a + l.of(row, 0, unit), *at_z = a + l.of(row, 1, unit), *at_n = a + l.of(row, 2, unit);
                const F r = sigmoid(load(at_r, n) + load(sum)), z = sigmoid(load(at_z, n) + load(sum + W));
                const F u = load(sum + 2 * W) + load(l.bias_hn + unit, n);
                const F g = tanh(fma(r, u, load(at_n, n)));
                store(at_r, r, n);
                store(at_z, z, n);
                store(at_n, g, n);
                store(recurrent_n + l.of(row, unit), u, n);
                l.settle(l.h, l.keep_h, t, row, unit, n, fma(z, load(before + l.of(row, unit), n) - g, g));
            });
            me.meet();
        }
    }

    static void backward(const Layer &l, const Member &me, const AllPanels &panels, float *) {
        for (int step = l.T - 1; step >= 0; step--) {
            const int t = l.time(step);
            float *a = l.gates_at(l.gates, t), *u = l.at(l.extra, t);
            const float *before = l.before(l.h, t);
            me.each(l.H, [&](int row, int unit, int n) {
                if (!l.live(t, row)) return l.no_gradient(t, row, unit, n);
                const ptrdiff_t i = l.of(row, unit);
                const F d = l.unsettle(l.d_h, l.keep_h, t, row, unit, n, l.d_output(t, row, unit, n));
                const F r = load(a + l.of(row, 0, unit), n), z = load(a + l.of(row, 1, unit), n);
                const F g = load(a + l.of(row, 2, unit), n);
                const F d_n = d * (1.0f - z) * d_tanh(g);
                store(a + l.of(row, 0, unit), d_n * load(u + i, n) * d_sigmoid(r), n);
                store(a + l.of(row, 1, unit), d * (load(before + i, n) - g) * d_sigmoid(z), n);
                store(a + l.of(row, 2, unit), d_n, n);
                store(u + i, d_n * r, n);
                store(l.d_h + i, fma(d, z, load(l.d_h + i, n)), n);
            });
            me.meet();
            me.multiply(panels[0], {l.gradient(t, 0, 2), l.extras(t)}, add_to(l, l.d_h));
        }
    }
};

// lstm, peephole_diagonal: i, f, o = sigma(.); g = tanh(.); c_t = f * c + i * g; h_t = o * tanh(c_t). With peepholes i
// and f see the cell before, o the one after, each unit its own.

template <bool PEEPHOLES>
struct Lstm {
    static AllPanels forward_panels(const Layer &l) { return {{4, l.H, {l.recurrent(0, 4)}}}; }
    static AllPanels backward_panels(const Layer &l) { return {{0, l.H, {l.recurrent_backward(0, 4)}}}; }

    static void forward(const Layer &l, const Member &me, const AllPanels &panels, float *) {
        for (int step = 0; step < l.T; step++) {
            const int t = l.time(step);
            float *a = l.gates_at(l.gates, t);
            const float *before = l.before(l.c, t);
            me.multiply(panels[0], {l.state(l.h, t)}, [&](int row, int unit, int n, const float *sum) {
                float *at_i = a + l.of(row, 0, unit), *at_f = a + l.of(row, 1, unit);
                float *at_g = a + l.of(row, 2, unit), *at_o = a + l.of(row, 3, unit);
                F c = load(before + l.of(row, unit), n);
                F i = load(at_i, n) + load(sum), f = load(at_f, n) + load(sum + W), o = load(at_o, n) + load(sum + 3 * W);
                if constexpr (PEEPHOLES) {
                    i = fma(c, load(l.weight_ci + unit, n), i);
                    f = fma(c, load(l.weight_cf + unit, n), f);
                }
                i = sigmoid(i);
                f = sigmoid(f);
                const F g = tanh(load(at_g, n) + load(sum + 2 * W));
                c = fma(i, g, f * c);
                if constexpr (PEEPHOLES) {
                    o = fma(c, load(l.weight_co + unit, n), o);
                    store(l.at(l.extra, t) + l.of(row, unit), c, n);
                }
                o = sigmoid(o);
                store(at_i, i, n);
                store(at_f, f, n);
                store(at_g, g, n);
                store(at_o, o, n);
                l.settle(l.c, l.keep_c, t, row, unit, n, c);
                l.settle(l.h, l.keep_h, t, row, unit, n, o * tanh(c));
            });
            me.meet();
        }
    }

    static void backward(const Layer &l, const Member &me, const AllPanels &panels, float *) {
        for (int step = l.T - 1; step >= 0; step--) {
            const int t = l.time(step);
            float *a = l.gates_at(l.gates, t);
            const float *before = l.before(l.c, t);
            me.each(l.H, [&](int row, int unit, int n) {
                if (!l.live(t, row)) return l.no_gradient(t, row, unit, n);
                const ptrdiff_t at = l.of(row, unit);
                const F d_h = l.unsettle(l.d_h, l.keep_h, t, row, unit, n, l.d_output(t, row, unit, n));
                F d_c = l.unsettle(l.d_c, l.keep_c, t, row, unit, n, load(l.d_c + at, n));
                const F i = load(a + l.of(row, 0, unit), n), f = load(a + l.of(row, 1, unit), n);
                const F g = load(a + l.of(row, 2, unit), n), o = load(a + l.of(row, 3, unit), n);
                const F c = load(before + at, n), tanh_c = tanh(fma(i, g, f * c));
                const F d_o = d_h * tanh_c * d_sigmoid(o);
                d_c = fma(d_h * o, d_tanh(tanh_c), d_c);
                if constexpr (PEEPHOLES) d_c = fma(d_o, load(l.weight_co + unit, n), d_c);
                const F d_i = d_c * g * d_sigmoid(i), d_f = d_c * c * d_sigmoid(f);
                F d_before = fma(d_c, f, load(l.d_c + at, n));
                if constexpr (PEEPHOLES) {
                    d_before = fma(d_i, load(l.weight_ci + unit, n), d_before);
                    d_before = fma(d_f, load(l.weight_cf + unit, n), d_before);
                }
                store(a + l.of(row, 0, unit), d_i, n);
                store(a + l.of(row, 1, unit), d_f, n);
                store(a + l.of(row, 2, unit), d_c * i * d_tanh(g), n);
                store(a + l.of(row, 3, unit), d_o, n);
                store(l.d_c + at, d_before, n);
            });
            me.meet();
            me.multiply(panels[0], {l.gradient(t, 0, 4)}, add_to(l, l.d_h));
        }
    }
};

// peephole: as lstm, but i and f add V_i c and V_f c of the cell before, o adds V_o c_t of the cell after: c_t has to be
// whole before o.

struct Peephole {
    static AllPanels forward_panels(const Layer &l) {
        return {{2, l.H, {l.recurrent(0, 2), l.peephole(l.weight_ci, l.weight_cf)}},
                {2, l.H, {l.recurrent(2, 2)}},
                {0, l.H, {l.peephole(l.weight_co)}}};
    }
    static AllPanels backward_panels(const Layer &l) {
        return {{0, l.H, {l.peephole_backward(l.weight_co)}},
                {0, l.H, {l.recurrent_backward(0, 4)}},
                {0, l.H, {l.peephole_backward(l.weight_ci), l.peephole_backward(l.weight_cf)}}};
    }

    static void forward(const Layer &l, const Member &me, const AllPanels &panels, float *) {
        for (int step = 0; step < l.T; step++) {
            const int t = l.time(step);
            float *a = l.gates_at(l.gates, t), *fresh = l.at(l.extra, t);
            const float *before = l.before(l.c, t);
            me.multiply(panels[0], {l.state(l.h, t), l.state(l.c, t)}, [&](int row, int unit, int n, const float *sum) {
                float *at_i = a + l.of(row, 0, unit), *at_f = a + l.of(row, 1, unit);
                store(at_i, sigmoid(load(at_i, n) + load(sum)), n);
                store(at_f, sigmoid(load(at_f, n) + load(sum + W)), n);
            });
            me.multiply(panels[1], {l.state(l.h, t)}, [&](int row, int unit, int n, const float *sum) {
                float *at_g = a + l.of(row, 2, unit), *at_o = a + l.of(row, 3, unit);
                const F i = load(a + l.of(row, 0, unit), n), f = load(a + l.of(row, 1, unit), n);
                const F g = tanh(load(at_g, n) + load(sum));
                store(at_g, g, n);
                store(at_o, load(at_o, n) + load(sum + W), n);
                store(fresh + l.of(row, unit), fma(i, g, f * load(before + l.of(row, unit), n)), n);
            });
            me.meet();
            me.multiply(panels[2], {l.extras(t)}, [&](int row, int unit, int n, const float *sum) {
                float *at_o = a + l.of(row, 3, unit);
                const F c = load(fresh + l.of(row, unit), n), o = sigmoid(load(at_o, n) + load(sum));
                store(at_o, o, n);
                l.settle(l.c, l.keep_c, t, row, unit, n, c);
                l.settle(l.h, l.keep_h, t, row, unit, n, o * tanh(c));
            });
            me.meet();
        }
    }

    static void backward(const Layer &l, const Member &me, const AllPanels &panels, float *d_cell) {
        for (int step = l.T - 1; step >= 0; step--) {
            const int t = l.time(step);
            float *a = l.gates_at(l.gates, t);
            const float *before = l.before(l.c, t);
            me.each(l.H, [&](int row, int unit, int n) {
                if (!l.live(t, row)) return l.no_gradient(t, row, unit, n);
                const ptrdiff_t at = l.of(row, unit);
                const F d_h = l.unsettle(l.d_h, l.keep_h, t, row, unit, n, l.d_output(t, row, unit, n));
                const F d_c = l.unsettle(l.d_c, l.keep_c, t, row, unit, n, load(l.d_c + at, n));
                const F i = load(a + l.of(row, 0, unit), n), f = load(a + l.of(row, 1, unit), n);
                const F g = load(a + l.of(row, 2, unit), n), o = load(a + l.of(row, 3, unit), n);
                const F tanh_c = tanh(fma(i, g, f * load(before + at, n)));
                store(a + l.of(row, 3, unit), d_h * tanh_c * d_sigmoid(o), n);
                store(d_cell + at, fma(d_h * o, d_tanh(tanh_c), d_c), n);
            });
            me.meet();
            me.multiply(panels[0], {l.gradient(t, 3, 1)}, [&](int row, int unit, int n, const float *sum) {
                if (!l.live(t, row)) return;
                const ptrdiff_t at = l.of(row, unit);
                const F i = load(a + l.of(row, 0, unit), n), f = load(a + l.of(row, 1, unit), n);
                const F g = load(a + l.of(row, 2, unit), n), c = load(before + at, n);
                const F d_c = load(d_cell + at, n) + load(sum);
                store(a + l.of(row, 0, unit), d_c * g * d_sigmoid(i), n);
                store(a + l.of(row, 1, unit), d_c * c * d_sigmoid(f), n);
                store(a + l.of(row, 2, unit), d_c * i * d_tanh(g), n);
                store(l.d_c + at, fma(d_c, f, load(l.d_c + at, n)), n);
            });
            me.meet();
            me.multiply(panels[1], {l.gradient(t, 0, 4)}, add_to(l, l.d_h));
            me.multiply(panels[2], {l.gradient(t, 0, 2)}, add_to(l, l.d_c));
        }
    }
};

// The table of cells

enum Direction { FORWARD, BACKWARD };

struct Program {
    AllPanels (*panels)(const Layer &);
    void (*steps)(const Layer &, const Member &, const AllPanels &, float *room);
};

template <class Cell>
Program program_of(Direction direction) {
    if (direction == FORWARD) return {Cell::forward_panels, Cell::forward};
    return {Cell::backward_panels, Cell::backward};
}

inline Program program_of(int cell, Direction direction) {
    switch (cell) {
        case OST_RNN_TANH: return program_of<Rnn<Tanh>>(direction);
        case OST_RNN_RELU: return program_of<Rnn<Relu>>(direction);
        case OST_RNN_LEAKY_RELU: return program_of<Rnn<LeakyRelu>>(direction);
        case OST_RNN_ELU: return program_of<Rnn<Elu>>(direction);
        case OST_GRU: return program_of<Gru>(direction);
        case OST_GRU_RESET_AFTER: return program_of<GruResetAfter>(direction);
        case OST_LSTM: return program_of<Lstm<false>>(direction);
        case OST_PEEPHOLE: return program_of<Peephole>(direction);
        default: return program_of<Lstm<true>>(direction);
    }
}

}  // namespace ost::OST_ISA
