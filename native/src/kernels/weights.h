// What lies outside the recurrence of a layer, all steps at once: the product with its input, and after the backward
// pass, from the gradient of the gates, those of input and weights.
#pragma once

#include <vector>

#include "cells.h"
#include "gemm.h"

namespace ost::OST_ISA {

// The gradient of a vector as sums over all N = T*B rows: out[j] = sum of d[row, j] (* seen[row, j]).
struct ColumnSums {
    const float *d;
    ptrdiff_t d_row;
    const float *seen;  // (N, count), or null
    int count;
    float *out;

    // The share of one of `parts` threads.
    void work(int N, int rank, int parts) const {
        const int blocks = blocks_of(count), begin = blocks * rank / parts * W, end = std::min(count, blocks * (rank + 1) / parts * W);
        for (int j = begin; j < end; j++) out[j] = 0.0f;
        for (ptrdiff_t row = 0; row < N; row++)
            for (int j = begin; j < end; j += W) {
                const int n = std::min(W, end - j);
                const F x = load(d + row * d_row + j, n), sum = load(out + j, n);
                store(out + j, seen ? fma(x, load(seen + row * count + j, n), sum) : x + sum, n);
            }
    }
};

class Outside {
  public:
    Outside(const Layer &l, Direction direction) : N_(l.T * l.B) {
        if (direction == BACKWARD)
            differentiate(l);
        else if (l.x)
            project(l);
    }

    size_t floats(int parts) const {
        size_t most = 0;
        for (const Gemm &gemm : products_) most = std::max(most, gemm.floats(parts));
        return most;
    }

    // The share of one of `parts` threads that all call this, and meet before they return.
    void work(int rank, int parts, Barrier &barrier, float *memory) const {
        for (const ColumnSums &sums : sums_) sums.work(N_, rank, parts);
        for (const Gemm &gemm : products_) gemm.work(rank, parts, barrier, memory);
    }

  private:
    // gates = x W^T + b
    void project(const Layer &l) {
        ost_product p{};
        p.M = N_;
        p.N = static_cast<int>(l.width());
        p.K = l.I;
        p.a = l.x;
        p.a_row = l.I;
        p.a_k = 1;
        p.b = l.weight_ih;
        p.b_k = 1;
        p.b_column = l.I;
        p.c = l.gates;
        p.c_row = l.width();
        p.bias = l.bias;
        products_.emplace_back(p);
    }

    void differentiate(const Layer &l) {
        const int H = l.H;
        const float *h = l.before(l.h, 0), *c = l.c ? l.before(l.c, 0) : nullptr;
        const auto gate = [&](int g) { return l.gates + g * H; };
        const bool split = l.cell == OST_GRU || l.cell == OST_GRU_RESET_AFTER;  // n has a factor of its own
        if (l.d_x) input(l);
        sums_.push_back({l.gates, l.width(), nullptr, static_cast<int>(l.width()), l.d_bias});
        weight(gate(0), l.width(), l.G() * H, l.x, l.I, l.d_weight_ih);
        weight(gate(0), l.width(), (split ? 2 : l.G()) * H, h, H, l.d_weight_hh);
        float *d_U_n = l.d_weight_hh + 2 * static_cast<ptrdiff_t>(H) * H;
        switch (l.cell) {
            case OST_GRU: weight(gate(2), l.width(), H, l.extra, H, d_U_n); break;
            case OST_GRU_RESET_AFTER:
                weight(l.extra, H, H, h, H, d_U_n);
                sums_.push_back({l.extra, H, nullptr, H, l.d_bias_hn});
                break;
            case OST_PEEPHOLE:
                weight(gate(0), l.width(), H, c, H, l.d_weight_ci);
                weight(gate(1), l.width(), H, c, H, l.d_weight_cf);
                weight(gate(3), l.width(), H, l.extra, H, l.d_weight_co);
                break;
            case OST_PEEPHOLE_DIAGONAL:
                sums_.push_back({gate(0), l.width(), c, H, l.d_weight_ci});
                sums_.push_back({gate(1), l.width(), c, H, l.d_weight_cf});
                sums_.push_back({gate(3), l.width(), l.extra, H, l.d_weight_co});
                break;
            default: break;
        }
    }

    // d_x = d W
    void input(const Layer &l) {
        ost_product p{};
        p.M = N_;
        p.N = l.I;
        p.K = static_cast<int>(l.width());
        p.a = l.gates;
        p.a_row = l.width();
        p.a_k = 1;
        p.b = l.weight_ih;
        p.b_k = l.I;
        p.b_column = 1;
        p.c = l.d_x;
        p.c_row = l.I;
        products_.emplace_back(p);
    }

    // out (units, width) = d^T seen: d (N, units) has rows d_row apart, seen is (N, width).
    void weight(const float *d, ptrdiff_t d_row, int units, const float *seen, int width, float *out) {
        ost_product p{};
        p.M = units;
        p.N = width;
        p.K = N_;
        p.a = d;
        p.a_row = 1;
        p.a_k = d_row;
        p.b = seen;
        p.b_k = width;
        p.b_column = 1;
        p.c = out;
        p.c_row = width;
        products_.emplace_back(p);
    }

    int N_;
    std::vector<ColumnSums> sums_;
    std::vector<Gemm> products_;
};

}  // namespace ost::OST_ISA
