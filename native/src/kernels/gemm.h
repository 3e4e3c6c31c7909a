// Large matrix products (Goto and van de Geijn 2008): the right factor is packed in blocks that all threads share, each
// thread computes rows of its own.
#pragma once

#include <algorithm>

#include "../../include/ostinato/core.h"
#include "../pool.h"
#include "pack.h"
#include "tile.h"

namespace ost::OST_ISA {

class Gemm {
  public:
    explicit Gemm(const ost_product &product) : p_(product) {}

    // Memory that `parts` threads share.
    size_t floats(int parts) const { return 2 * block_floats() + OWN * static_cast<size_t>(parts); }

    // The share of one of `parts` threads that all call this. They meet at the barrier before they return.
    void work(int rank, int parts, Barrier &barrier, float *memory) const {
        float *sums = memory + 2 * block_floats() + OWN * static_cast<size_t>(rank), *block = memory;
        const bool by_rows = p_.M >= parts * HEIGHT / 2;  // with few rows each thread takes panels
        const int row_begin = by_rows ? share(p_.M, rank, parts) : 0, row_end = by_rows ? share(p_.M, rank + 1, parts) : p_.M;
        const int panel_begin = by_rows ? 0 : share(panels(), rank, parts), panel_end = by_rows ? panels() : share(panels(), rank + 1, parts);
        for (int k = 0; k < p_.K; k += DEPTH) {
            const int depth = std::min(DEPTH, p_.K - k);
            if (by_rows) {
                for (int i = rank; i < panels(); i += parts) pack_panel(block, i, k, depth);
                barrier.wait();
            } else {
                for (int i = panel_begin; i < panel_end; i++) pack_panel(block, i, k, depth);
            }
            for (int row = row_begin; row < row_end; row += HEIGHT)
                for (int i = panel_begin; i < panel_end; i++)
                    multiply_block({row, std::min(HEIGHT, row_end - row), i, k, depth}, panel_of(block, i), sums);
            block = block == memory ? memory + block_floats() : memory;  // others may still read the last one
        }
        barrier.wait();
    }

  private:
    static constexpr int DEPTH = 512;  // of a block: a packed panel of it is 128 KB at most
    static constexpr int HEIGHT = 96;  // rows that a thread takes at once: they stay in the nearest cache beside a panel
    static constexpr int PANEL = TILE_VECTORS * W;
    static constexpr size_t OWN = static_cast<size_t>(HEIGHT * PANEL);

    struct Piece {
        int row, rows, panel, k, depth;
    };

    static int share(int n, int rank, int parts) { return static_cast<int>(1LL * n * rank / parts); }
    int panels() const { return (p_.N + PANEL - 1) / PANEL; }
    int vectors(int panel) const { return std::min(TILE_VECTORS, (p_.N - panel * PANEL + W - 1) / W); }
    size_t block_floats() const { return static_cast<size_t>(std::min(DEPTH, p_.K)) * static_cast<size_t>(panels() * PANEL); }
    float *panel_of(float *block, int panel) const { return block + static_cast<ptrdiff_t>(panel) * PANEL * std::min(DEPTH, p_.K); }

    void pack_panel(float *block, int panel, int k, int depth) const {
        float *out = panel_of(block, panel);
        for (int v = 0; v < vectors(panel); v++) {
            const int column = panel * PANEL + v * W;
            const Columns columns{p_.b + column * p_.b_column + k * p_.b_k, p_.b_k, p_.b_column, std::min(W, p_.N - column)};
            pack_columns(columns, depth, out + v * W, vectors(panel) * W);
        }
    }

    void multiply_block(const Piece &at, const float *panel, float *sums) const {
        const int count = vectors(at.panel), width = count * W, columns = std::min(PANEL, p_.N - at.panel * PANEL);
        const bool add = p_.add || at.k > 0, whole = columns == width;
        const float *left = p_.a + at.row * p_.a_row + at.k * p_.a_k;
        float *c = p_.c + at.row * p_.c_row + at.panel * PANEL;
        if (!whole && add) copy(at.rows, columns, c, p_.c_row, sums, width);
        product(at.rows, count, at.depth, left, p_.a_row, p_.a_k, panel, whole ? c : sums, whole ? p_.c_row : width, add);
        if (!whole) copy(at.rows, columns, sums, width, c, p_.c_row);
        if (p_.bias && at.k + at.depth == p_.K) offset(at.rows, columns, p_.bias + at.panel * PANEL, c);
    }

    // Sums of a panel that is not full go by way of a place with whole vectors.
    static void copy(int rows, int columns, const float *from, ptrdiff_t from_row, float *to, ptrdiff_t to_row) {
        for (int r = 0; r < rows; r++) std::copy(from + r * from_row, from + r * from_row + columns, to + r * to_row);
    }

    void offset(int rows, int columns, const float *bias, float *c) const {
        for (int r = 0; r < rows; r++, c += p_.c_row)
            for (int i = 0; i < columns; i += W) {
                const int n = std::min(W, columns - i);
                store(c + i, load(c + i, n) + load(bias + i, n), n);
            }
    }

    ost_product p_;
};

}  // namespace ost::OST_ISA
