// One layer's work shared out: the packed weights, who computes which rows and units, and the product that all cells
// are made of.
#pragma once

#include <algorithm>
#include <array>
#include <initializer_list>
#include <vector>

#include "../pool.h"
#include "int8.h"
#include "pack.h"
#include "tile.h"

namespace ost::OST_ISA {

// Units come in blocks of W, the last one perhaps not full.
inline int blocks_of(int units) { return (units + W - 1) / W; }

// Blocks that lie side by side in a panel of a plain product: four fill a tile, but a narrow layer has to be shared out.
inline int blocks_per_panel(int units) {
    const int blocks = blocks_of(units);
    return blocks >= 16 ? TILE_VECTORS : (blocks >= 4 ? 2 : 1);
}

// A matrix that a state or a gradient (B, K) is multiplied by. Column `unit` of gate g has at k the element
// gates[g][k * k_step + unit * unit_step].
struct Matrix {
    std::array<const float *, TILE_VECTORS> gates;
    int K;
    ptrdiff_t k_step, unit_step;
};

// Matrices below each other, packed. A panel holds all `gates` of one block, so that one tile has them all; with gates
// 0, a plain product, it holds a few blocks side by side.
class Panels {
  public:
    Panels(int gates, int units, std::vector<Matrix> matrices)
        : gates_(gates), units_(units), matrices_(std::move(matrices)) {}

    // From now on in eight bits; before `floats` is asked for.
    void use_int8() { int8_ = true; }

    bool int8() const { return int8_; }
    int rows_of(int K) const { return int8_ ? int8_rows(K) : K; }
    int units() const { return units_; }
    int vectors_per_block() const { return std::max(1, gates_); }
    int blocks_per_panel() const { return gates_ ? 1 : OST_ISA::blocks_per_panel(units_); }
    int blocks_of_panel(int first) const { return std::min(blocks_per_panel(), blocks_of(units_) - first); }
    size_t floats() const { return floats_before(blocks_of(units_)); }
    void put_at(float *data) { data_ = data; }

    // The panel whose first block is `first`.
    const float *panel(int first) const { return data_ + floats_before(first); }

    void pack(int block) const {
        const int first = block / blocks_per_panel() * blocks_per_panel();
        const ptrdiff_t step = static_cast<ptrdiff_t>(blocks_of_panel(first)) * vectors_per_block() * W;
        const ptrdiff_t unit = static_cast<ptrdiff_t>(block) * W;
        for (int gate = 0; gate < vectors_per_block(); gate++) {
            float *out = data_ + floats_before(first) + ((block - first) * vectors_per_block() + gate) * W;
            for (const Matrix &m : matrices_) {
                const float *column = m.gates[static_cast<size_t>(gate)] + unit * m.unit_step;
                const Columns columns{column, m.k_step, m.unit_step, std::min(W, units_ - block * W)};
                int8_ ? pack_int8(columns, m.K, out, step) : pack_columns(columns, m.K, out, step);
                out += rows_of(m.K) * step;
            }
        }
    }

  private:
    size_t floats_before(int block) const {
        size_t rows = 0;
        for (const Matrix &m : matrices_) rows += static_cast<size_t>(rows_of(m.K));
        return rows * static_cast<size_t>(block * vectors_per_block() * W);
    }

    int gates_, units_;
    bool int8_ = false;
    std::vector<Matrix> matrices_;
    float *data_ = nullptr;
};

// Rows (B, K) that panels are multiplied with.
struct Source {
    const float *first;
    ptrdiff_t row_step;
    int K;
};

// What one thread does of a layer: some rows of the batch, some blocks of the units.
struct Member {
    int row_begin, row_end, block_begin, block_end;
    Barrier *barrier;          // of those who have the same rows
    float *sums;               // scratch, (rows, TILE_VECTORS * W)
    int32_t *bytes = nullptr;  // scratch for int8: (rows, quads(K)) of each source
    float *scales = nullptr;   // (rows) of each

    void meet() const { barrier->wait(); }

    // e(row, unit, n, sums) for each row and each block of this share, n units of it: with the product of the sources,
    // side by side, and the panels. Gate g is at sums + g * W.
    template <class E>
    void multiply(const Panels &panels, std::initializer_list<Source> sources, E &&e) const {
        const int rows = row_end - row_begin, per_block = panels.vectors_per_block();
        if (panels.int8()) quantise_all(sources);
        for (int first = block_begin; first < block_end; first += panels.blocks_per_panel()) {
            const int blocks = panels.blocks_of_panel(first), vectors = blocks * per_block;
            const float *panel = panels.panel(first);
            const int32_t *bytes_of = bytes;
            const float *scales_of = scales;
            bool add = false;
            for (const Source &s : sources) {
                if (panels.int8())
                    int8_product(rows, vectors, s.K, bytes_of, scales_of, panel, sums, add);
                else
                    product(rows, vectors, s.K, s.first + row_begin * s.row_step, s.row_step, 1, panel, sums, vectors * W, add);
                bytes_of += static_cast<ptrdiff_t>(rows) * quads(s.K);
                scales_of += rows;
                panel += static_cast<ptrdiff_t>(panels.rows_of(s.K)) * vectors * W;
                add = true;
            }
            for (int row = row_begin; row < row_end; row++)
                for (int i = 0; i < blocks; i++) {
                    const int unit = (first + i) * W;
                    const float *sum = sums + static_cast<ptrdiff_t>((row - row_begin) * vectors + i * per_block) * W;
                    e(row, unit, std::min(W, panels.units() - unit), sum);
                }
        }
    }

    void quantise_all(std::initializer_list<Source> sources) const {
        const int rows = row_end - row_begin;
        int32_t *to = bytes;
        float *scales_to = scales;
        for (const Source &s : sources) {
            quantise(rows, s.K, s.first + row_begin * s.row_step, s.row_step, to, scales_to);
            to += static_cast<ptrdiff_t>(rows) * quads(s.K);
            scales_to += rows;
        }
    }

    // e(row, unit, n) for each row and each block of this share.
    template <class E>
    void each(int units, E &&e) const {
        for (int row = row_begin; row < row_end; row++)
            for (int unit = block_begin * W; unit < std::min(units, block_end * W); unit += W)
                e(row, unit, std::min(W, units - unit));
    }
};

// How threads share a layer out: in parts of the units times parts of the rows. Those with different rows never wait
// for each other; those with the same rows meet at every step, but each reads less of the weights.
struct Grid {
    static constexpr size_t CACHE = 768 * 1024;  // bytes of weights that stay close to one thread

    int threads, unit_parts, rows, units;

    Grid(int threads, size_t weight_bytes, int rows, int units)
        : threads(threads), unit_parts(threads), rows(rows), units(units) {
        for (int parts = 1; parts < threads; parts++) {
            if (threads % parts) continue;
            const bool high = rows >= threads / parts * TILE_ROWS / 2;
            if (high && weight_bytes / static_cast<size_t>(parts) <= CACHE) {
                unit_parts = parts;
                break;
            }
        }
    }

    int row_parts() const { return threads / unit_parts; }

    Member member(int rank, Barrier *barriers, float *sums) const {
        const int row_part = rank / unit_parts;
        Member m{rows * row_part / row_parts(), rows * (row_part + 1) / row_parts(), 0, 0, barriers + row_part, sums};
        share_units(rank % unit_parts, units, m);
        return m;
    }

    // The blocks that one part has of so many units; whole panels.
    void share_units(int part, int of_units, Member &m) const {
        const int per_panel = blocks_per_panel(of_units), blocks = blocks_of(of_units);
        const int panels = (blocks + per_panel - 1) / per_panel;
        m.block_begin = std::min(blocks, panels * part / unit_parts * per_panel);
        m.block_end = std::min(blocks, panels * (part + 1) / unit_parts * per_panel);
    }
};

}  // namespace ost::OST_ISA
