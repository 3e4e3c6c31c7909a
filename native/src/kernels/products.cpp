// Large matrix products (Goto and van de Geijn 2008): the right factor is packed in blocks that all threads share, each
// thread computes rows of its own.

#include <algorithm>

#include "../pool.h"
#include "kernels.h"
#include "pack.h"
#include "tile.h"

namespace ost::OST_ISA {
namespace {

constexpr int DEPTH = 512;  // of a block: a packed panel of it is 128 KB at most
constexpr int HEIGHT = 96;  // rows that a thread takes at once: they stay in the nearest cache beside a panel
constexpr int PANEL = TILE_VECTORS * W;

struct Product : ost_product {
    explicit Product(const ost_product &p) : ost_product(p) {}

    int panels() const { return (N + PANEL - 1) / PANEL; }
    int vectors(int panel) const { return std::min(TILE_VECTORS, (N - panel * PANEL + W - 1) / W); }
    size_t block_floats() const { return static_cast<size_t>(DEPTH) * static_cast<size_t>(panels() * PANEL); }
    float *panel_of(float *block, int panel) const { return block + static_cast<ptrdiff_t>(panel) * PANEL * DEPTH; }

    void pack_panel(float *block, int panel, int k, int depth) const {
        float *out = panel_of(block, panel);
        for (int v = 0; v < vectors(panel); v++) {
            const int column = panel * PANEL + v * W;
            const Columns columns{b + column * b_column + k * b_k, b_k, b_column, std::min(W, N - column)};
            pack_columns(columns, depth, out + v * W, vectors(panel) * W);
        }
    }

    // Sums so far (rows, vectors * W) of a panel, from c and back to it.
    void get(int row, int rows, int panel, float *sums) const {
        each(row, rows, panel, sums, [](float *at, int, int n, float *sum) { store(sum, load(at, n)); });
    }
    void put(int row, int rows, int panel, float *sums, bool last) const {
        const float *offset = last ? bias : nullptr;
        each(row, rows, panel, sums, [offset](float *at, int column, int n, float *sum) {
            store(at, offset ? load(sum) + load(offset + column, n) : load(sum), n);
        });
    }

  private:
    template <class E>
    void each(int row, int rows, int panel, float *sums, E &&e) const {
        for (int r = 0; r < rows; r++)
            for (int v = 0; v < vectors(panel); v++, sums += W) {
                const int column = panel * PANEL + v * W;
                e(c + (row + r) * c_row + column, column, std::min(W, N - column), sums);
            }
    }
};

}  // namespace

bool multiply(const ost_product &given, int threads) {
    const Product p(given);
    const long long work = 1LL * p.M * p.N * p.K;
    Lease lease(work < (1 << 16) ? 1 : threads);
    const int parts = lease.threads();
    constexpr size_t own = HEIGHT * PANEL;
    float *memory = lease.memory(2 * p.block_floats() + own * static_cast<size_t>(parts));
    if (!memory) return false;
    Barrier barrier;
    barrier.set(parts);
    lease.run([&](int rank) {
        float *sums = memory + 2 * p.block_floats() + own * static_cast<size_t>(rank);
        // Few rows: each thread takes panels, else rows.
        const bool by_rows = p.M >= parts * HEIGHT / 2;
        const int row_begin = by_rows ? p.M * rank / parts : 0, row_end = by_rows ? p.M * (rank + 1) / parts : p.M;
        const int panel_begin = by_rows ? 0 : p.panels() * rank / parts;
        const int panel_end = by_rows ? p.panels() : p.panels() * (rank + 1) / parts;
        float *block = memory;
        for (int k = 0; k < p.K; k += DEPTH) {
            const int depth = std::min(DEPTH, p.K - k);
            if (by_rows) {
                for (int i = rank; i < p.panels(); i += parts) p.pack_panel(block, i, k, depth);
                barrier.wait();
            } else {
                for (int i = panel_begin; i < panel_end; i++) p.pack_panel(block, i, k, depth);
            }
            for (int row = row_begin; row < row_end; row += HEIGHT) {
                const int rows = std::min(HEIGHT, row_end - row);
                const float *left = p.a + row * p.a_row + k * p.a_k;
                for (int i = panel_begin; i < panel_end; i++) {
                    const ptrdiff_t step = p.vectors(i) * W;
                    const bool add = p.add || k > 0;
                    if (add) p.get(row, rows, i, sums);
                    product(rows, p.vectors(i), depth, left, p.a_row, p.a_k, p.panel_of(block, i), sums, step, add);
                    p.put(row, rows, i, sums, k + depth == p.K);
                }
            }
            block = block == memory ? memory + p.block_floats() : memory;  // others may still read the last one
        }
    });
    return true;
}

}  // namespace ost::OST_ISA
