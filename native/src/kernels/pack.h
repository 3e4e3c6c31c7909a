// Packed panels: the columns of a matrix that one tile reads together, k after k, without gaps.
#pragma once

#include "../isa/simd.h"

namespace ost::OST_ISA {

// Up to W neighbouring columns of a matrix whose element (k, column j) is first[k * k_step + j * j_step].
struct Columns {
    const float *first;
    ptrdiff_t k_step, j_step;
    int count;
};

// Turns rows of W vectors into columns, by swapping ever larger blocks.
inline void transpose(F (&r)[W]) {
#if defined(__clang__)
    for (int i = 0; i < W; i++)
        for (int j = 0; j < i; j++) {
            const float kept = r[i][j];
            r[i][j] = r[j][i];
            r[j][i] = kept;
        }
#else
#pragma GCC unroll 4
    for (int s = 1; s < W; s *= 2) {
        I low, high;
        for (int j = 0; j < W; j++) {
            low[j] = j & s ? W + j - s : j;
            high[j] = j & s ? W + j : j + s;
        }
#pragma GCC unroll 16
        for (int i = 0; i < W; i++) {
            if (i & s) continue;
            const F a = r[i], b = r[i + s];
            r[i] = __builtin_shuffle(a, b, low);
            r[i + s] = __builtin_shuffle(a, b, high);
        }
    }
#endif
}

// One vector of a panel, `stride` floats from k to k + 1; missing columns are 0.
inline void pack_columns(const Columns &from, int K, float *out, ptrdiff_t stride) {
    int k = 0;
    if (from.j_step == 1) {
        for (; k < K; k++) store(out + k * stride, load(from.first + k * from.k_step, from.count));
        return;
    }
    if (from.k_step == 1)
        for (; k + W <= K; k += W) {
            F block[W];
            for (int j = 0; j < W; j++) block[j] = j < from.count ? load(from.first + j * from.j_step + k) : F{};
            transpose(block);
            for (int i = 0; i < W; i++) store(out + (k + i) * stride, block[i]);
        }
    for (; k < K; k++)
        for (int j = 0; j < W; j++)
            out[k * stride + j] = j < from.count ? from.first[k * from.k_step + j * from.j_step] : 0.0f;
}

}  // namespace ost::OST_ISA
