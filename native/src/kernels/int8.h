// Products of rows and panels in whole numbers of eight bits: every column of the weights has a scale, every row of the
// left side another, and the sums are exact.
#pragma once

#include <algorithm>
#include <cmath>

#include "pack.h"

namespace ost::OST_ISA {

constexpr int QUAD = 4;  // bytes that one lane multiplies and adds at once

inline int quads(int K) { return (K + QUAD - 1) / QUAD; }

// A packed matrix of `vectors` * W columns is, in rows of so many words: the scales; OFFSET times the sum of each
// column; and for every four k the four bytes of each column.
inline int int8_rows(int K) { return 2 + quads(K); }

inline void pack_int8(const Columns &from, int K, float *out, ptrdiff_t stride) {
    int32_t *words = reinterpret_cast<int32_t *>(out);
    for (int j = 0; j < W; j++) {
        const float *column = from.first + j * from.j_step;
        float largest = 0.0f;
        if (j < from.count)
            for (int k = 0; k < K; k++) largest = std::max(largest, std::fabs(column[k * from.k_step]));
        const float scale = largest / 127.0f;
        int32_t sum = 0;
        for (int quad = 0; quad < quads(K); quad++) {
            uint32_t word = 0;
            for (int byte = 0; byte < QUAD; byte++) {
                const int k = quad * QUAD + byte;
                const bool there = k < K && scale > 0.0f;
                const int32_t value = there ? static_cast<int32_t>(std::nearbyint(column[k * from.k_step] / scale)) : 0;
                sum += value;
                word |= static_cast<uint32_t>(value & 255) << (8 * byte);
            }
            std::memcpy(words + (2 + quad) * stride + j, &word, sizeof word);
        }
        out[j] = scale;
        words[stride + j] = OFFSET * sum;
    }
}

// Rows (rows, K) as bytes (rows, quads(K) * 4), and the scale of each.
inline void quantise(int rows, int K, const float *a, ptrdiff_t a_row, int32_t *bytes, float *scales) {
    for (int r = 0; r < rows; r++) {
        const float *row = a + r * a_row;
        F largest = F{};
        for (int k = 0; k < K; k += W) {
            const F v = load(row + k, std::min(W, K - k));
            largest = max(largest, max(v, -v));
        }
        float most = 0.0f;
        for (int j = 0; j < W; j++) most = std::max(most, largest[j]);
        scales[r] = most / 127.0f;
        const float factor = most > 0.0f ? 127.0f / most : 0.0f;
        auto *to = reinterpret_cast<uint8_t *>(bytes + static_cast<ptrdiff_t>(r) * quads(K));
        const F magic = all(12582912.0f);  // rounds to a whole number, in the low bits
        for (int k = 0; k < quads(K) * QUAD; k += W) {
            const int some = std::min(W, K - k), room = std::min(W, quads(K) * QUAD - k);
            const F v = some > 0 ? load(row + k, some) : F{};
            const I whole = bits(v * factor + magic) - bits(magic) + OFFSET;
            typedef uint8_t Bytes __attribute__((vector_size(W)));
            const Bytes narrow = __builtin_convertvector(whole, Bytes);
            std::memcpy(to + k, &narrow, static_cast<size_t>(room));
        }
    }
}

template <int ROWS, int VECTORS>
inline void int8_tile(int K, const int32_t *x, const float *row_scales, const float *panel, float *c, bool add) {
    constexpr ptrdiff_t step = VECTORS * W;
    const int n = quads(K);
    const int32_t *words = reinterpret_cast<const int32_t *>(panel);
    I sum[ROWS][VECTORS] = {};
    for (int k = 0; k < n; k++) {
        I w[VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) w[v] = load_ints(words + (2 + k) * step + v * W);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++) {
            const I bytes = all(x[r * n + k]);
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; v++) sum[r][v] = dot(sum[r][v], bytes, w[v]);
        }
    }
    for (int r = 0; r < ROWS; r++)
        for (int v = 0; v < VECTORS; v++) {
            const F whole = to_floats(sum[r][v] - load_ints(words + step + v * W));
            const F value = whole * (row_scales[r] * load(panel + v * W));
            float *at = c + r * step + v * W;
            store(at, add ? load(at) + value : value);
        }
}

template <int VECTORS, int ROWS = TILE_ROWS>
void int8_tile_rows(int rows, int K, const int32_t *x, const float *scales, const float *panel, float *c, bool add) {
    if (rows == ROWS) return int8_tile<ROWS, VECTORS>(K, x, scales, panel, c, add);
    if constexpr (ROWS > 1) int8_tile_rows<VECTORS, ROWS - 1>(rows, K, x, scales, panel, c, add);
}

// c (rows, vectors * W) = the rows that `quantise` made times a packed matrix, or added to it.
inline void int8_product(int rows, int vectors, int K, const int32_t *x, const float *scales, const float *panel, float *c, bool add) {
    for (int begin = 0; begin < rows; begin += TILE_ROWS) {
        const int some = std::min(TILE_ROWS, rows - begin);
        const int32_t *from = x + static_cast<ptrdiff_t>(begin) * quads(K);
        float *to = c + static_cast<ptrdiff_t>(begin) * vectors * W;
        switch (vectors) {
            case 1: int8_tile_rows<1>(some, K, from, scales + begin, panel, to, add); break;
            case 2: int8_tile_rows<2>(some, K, from, scales + begin, panel, to, add); break;
            case 3: int8_tile_rows<3>(some, K, from, scales + begin, panel, to, add); break;
            case 4: int8_tile_rows<4>(some, K, from, scales + begin, panel, to, add); break;
        }
    }
}

}  // namespace ost::OST_ISA
