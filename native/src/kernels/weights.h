// What lies outside the recurrence of a layer, all steps at once: the product with its input, and after the backward
// pass, from the gradient of the gates, those of input and weights.
#pragma once

#include <vector>

#include "cells.h"
#include "gemm.h"

namespace ost::OST_ISA {

// The gradient of a vector as sums over rows: out[j] = sum of d[row, j] (* seen[row, j]).
struct ColumnSums {
    int rows;
    const float *d;
    ptrdiff_t d_row;
    const float *seen;  // (rows, count), or null
    int count;
    float *out;

    // The share of one of `parts` threads.
    void work(int rank, int parts) const {
        const int blocks = blocks_of(count), begin = blocks * rank / parts * W, end = std::min(count, blocks * (rank + 1) / parts * W);
        for (int j = begin; j < end; j++) out[j] = 0.0f;
        for (ptrdiff_t row = 0; row < rows; row++)
            for (int j = begin; j < end; j += W) {
                const int n = std::min(W, end - j);
                const F x = load(d + row * d_row + j, n), sum = load(out + j, n);
                store(out + j, seen ? fma(x, load(seen + row * count + j, n), sum) : x + sum, n);
            }
    }
};

// The gates' share of the input where rows of a table are looked up: from the table to all steps, and the sums of their
// gradients back.
struct Lookup {
    const Layer &l;

    // The share of one of `parts` threads.
    void gather(int rank, int parts) const {
        const ptrdiff_t N = static_cast<ptrdiff_t>(l.T) * l.B, width = l.width();
        for (ptrdiff_t n = N * rank / parts; n < N * (rank + 1) / parts; n++)
            std::copy(row(n), row(n) + width, l.gates + n * width);
    }
    void scatter(int rank, int parts) const {
        const ptrdiff_t N = static_cast<ptrdiff_t>(l.T) * l.B, width = l.width();
        const ptrdiff_t begin = blocks() * rank / parts * W, end = std::min(width, blocks() * (rank + 1) / parts * W);
        for (int i = 0; i < l.rows; i++) std::fill(l.table + i * width + begin, l.table + i * width + end, 0.0f);
        for (ptrdiff_t n = 0; n < N; n++)
            for (ptrdiff_t j = begin; j < end; j += W) {
                const int some = static_cast<int>(std::min<ptrdiff_t>(W, end - j));
                store(row(n) + j, load(row(n) + j, some) + load(l.gates + n * width + j, some), some);
            }
    }

  private:
    float *row(ptrdiff_t n) const { return l.table + l.index[n] * l.width(); }
    ptrdiff_t blocks() const { return (l.width() + W - 1) / W; }
};

class Outside {
  public:
    Outside(const Layer &l, Direction direction) : l_(l), direction_(direction), steps_(l.T * l.B), inputs_(l.index ? l.rows : steps_) {
        if (direction == BACKWARD)
            differentiate();
        else if (l.x)
            project();
    }

    size_t floats(int parts) const {
        size_t most = 0;
        for (const Gemm &gemm : products_) most = std::max(most, gemm.floats(parts));
        return most;
    }

    // The share of one of `parts` threads that all call this, and meet before they return.
    void work(int rank, int parts, Barrier &barrier, float *memory) const {
        if (l_.index && direction_ == BACKWARD) {
            Lookup{l_}.scatter(rank, parts);
            barrier.wait();
        }
        for (const ColumnSums &sums : sums_) sums.work(rank, parts);
        for (const Gemm &gemm : products_) gemm.work(rank, parts, barrier, memory);
        if (l_.index && direction_ == FORWARD) {
            Lookup{l_}.gather(rank, parts);
            barrier.wait();
        }
    }

  private:
    int width() const { return static_cast<int>(l_.width()); }

    // W x + b, and its gradient: of every input.
    float *projected() const { return l_.index ? l_.table : l_.gates; }

    // projected = x W^T + b
    void project() {
        ost_product p{};
        p.M = inputs_;
        p.N = width();
        p.K = l_.I;
        p.a = l_.x;
        p.a_row = l_.I;
        p.a_k = 1;
        p.b = l_.weight_ih;
        p.b_k = 1;
        p.b_column = l_.I;
        p.c = projected();
        p.c_row = width();
        p.bias = l_.bias;
        products_.emplace_back(p);
    }

    void differentiate() {
        const Layer &l = l_;
        const int H = l.H;
        const float *h = l.before(l.h, 0), *c = l.c ? l.before(l.c, 0) : nullptr;
        const auto gate = [&](int g) { return l.gates + g * H; };
        const bool split = l.cell == OST_GRU || l.cell == OST_GRU_RESET_AFTER;  // n has a factor of its own
        if (l.d_x) input();
        sums_.push_back({inputs_, projected(), width(), nullptr, width(), l.d_bias});
        weight(inputs_, projected(), width(), width(), l.x, l.I, l.d_weight_ih);
        weight(steps_, gate(0), width(), (split ? 2 : l.G()) * H, h, H, l.d_weight_hh);
        float *d_U_n = l.d_weight_hh + 2 * static_cast<ptrdiff_t>(H) * H;
        switch (l.cell) {
            case OST_GRU: weight(steps_, gate(2), width(), H, l.extra, H, d_U_n); break;
            case OST_GRU_RESET_AFTER:
                weight(steps_, l.extra, H, H, h, H, d_U_n);
                sums_.push_back({steps_, l.extra, H, nullptr, H, l.d_bias_hn});
                break;
            case OST_PEEPHOLE:
                weight(steps_, gate(0), width(), H, c, H, l.d_weight_ci);
                weight(steps_, gate(1), width(), H, c, H, l.d_weight_cf);
                weight(steps_, gate(3), width(), H, l.extra, H, l.d_weight_co);
                break;
            case OST_PEEPHOLE_DIAGONAL:
                sums_.push_back({steps_, gate(0), width(), c, H, l.d_weight_ci});
                sums_.push_back({steps_, gate(1), width(), c, H, l.d_weight_cf});
                sums_.push_back({steps_, gate(3), width(), l.extra, H, l.d_weight_co});
                break;
            default: break;
        }
    }

    // d_x = d W
    void input() {
        ost_product p{};
        p.M = inputs_;
        p.N = l_.I;
        p.K = width();
        p.a = projected();
        p.a_row = width();
        p.a_k = 1;
        p.b = l_.weight_ih;
        p.b_k = l_.I;
        p.b_column = 1;
        p.c = l_.d_x;
        p.c_row = l_.I;
        products_.emplace_back(p);
    }

    // out (units, columns) = d^T seen: d (rows, units) has its rows d_row apart, seen is (rows, columns).
    void weight(int rows, const float *d, ptrdiff_t d_row, int units, const float *seen, int columns, float *out) {
        ost_product p{};
        p.M = units;
        p.N = columns;
        p.K = rows;
        p.a = d;
        p.a_row = 1;
        p.a_k = d_row;
        p.b = seen;
        p.b_k = columns;
        p.b_column = 1;
        p.c = out;
        p.c_row = columns;
        products_.emplace_back(p);
    }

    const Layer &l_;
    Direction direction_;
    int steps_, inputs_;
    std::vector<ColumnSums> sums_;
    std::vector<Gemm> products_;
};

}  // namespace ost::OST_ISA
