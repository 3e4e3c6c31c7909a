// The product that everything rests on: a few rows times a packed panel, all sums in registers.
//
// Each element is summed over k in order, by one chain of fused multiply-adds. So it does not depend on how many rows
// or threads there are, nor on the width of the vectors.
#pragma once

#include <algorithm>

#include "../isa/simd.h"

namespace ost::OST_ISA {

// c (ROWS, VECTORS * W), rows `c_row` apart, = a (ROWS, K), whose elements are `a_row` and `a_k` apart, times panel
// (K, VECTORS * W); with `add` it is added to c.
template <int ROWS, int VECTORS>
inline void tile(int K, const float *a, ptrdiff_t a_row, ptrdiff_t a_k, const float *panel, float *c, ptrdiff_t c_row, bool add) {
    F sum[ROWS][VECTORS];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) sum[r][v] = add ? load(c + r * c_row + v * W) : F{};
    for (int k = 0; k < K; k++, a += a_k) {
        F b[VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) b[v] = load(panel + (k * VECTORS + v) * W);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++) {
            const F x = all(a[r * a_row]);
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; v++) sum[r][v] = fma(x, b[v], sum[r][v]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) store(c + r * c_row + v * W, sum[r][v]);
}

template <int VECTORS, int ROWS = TILE_ROWS>
void tile_rows(int rows, int K, const float *a, ptrdiff_t a_row, ptrdiff_t a_k, const float *panel, float *c, ptrdiff_t c_row, bool add) {
    if (rows == ROWS) return tile<ROWS, VECTORS>(K, a, a_row, a_k, panel, c, c_row, add);
    if constexpr (ROWS > 1) tile_rows<VECTORS, ROWS - 1>(rows, K, a, a_row, a_k, panel, c, c_row, add);
}

// The same for any number of rows and up to TILE_VECTORS vectors. K goes in blocks that stay in the cache.
inline void product(int rows, int vectors, int K, const float *a, ptrdiff_t a_row, ptrdiff_t a_k, const float *panel, float *c, ptrdiff_t c_row, bool add) {
    constexpr int BLOCK = 512;
    const int tiles = (rows + TILE_ROWS - 1) / TILE_ROWS;
    for (int k = 0; k < K; k += BLOCK) {
        const int some = std::min(BLOCK, K - k);
        for (int i = 0; i < tiles; i++) {  // of nearly equal height, so that none is too low to be fast
            const int begin = static_cast<int>(1LL * rows * i / tiles), end = static_cast<int>(1LL * rows * (i + 1) / tiles);
            const float *from = a + begin * a_row + k * a_k, *of = panel + static_cast<ptrdiff_t>(k) * vectors * W;
            float *to = c + begin * c_row;
            const bool sum = add || k > 0;
            switch (vectors) {
                case 1: tile_rows<1>(end - begin, some, from, a_row, a_k, of, to, c_row, sum); break;
                case 2: tile_rows<2>(end - begin, some, from, a_row, a_k, of, to, c_row, sum); break;
                case 3: tile_rows<3>(end - begin, some, from, a_row, a_k, of, to, c_row, sum); break;
                case 4: tile_rows<4>(end - begin, some, from, a_row, a_k, of, to, c_row, sum); break;
            }
        }
    }
}

}  // namespace ost::OST_ISA
