// A vector of floats, the widest of the instruction set this file is compiled for: the only place with intrinsics.
//
// Operators are the compiler's own for vectors. Every function gives the same bits on every instruction set: a fused
// multiply-add rounds once everywhere (the generic one goes through double, whose second rounding differs in about one
// of 2^29 cases).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#elif defined(OST_NEON)  // from CMakeLists.txt: every 64-bit ARM has it, and generic is to be something else
#include <arm_neon.h>
#endif

namespace ost::OST_ISA {

#if defined(__AVX512F__)
constexpr int W = 16;          // floats in a vector
constexpr int TILE_ROWS = 6;   // rows of a tile of products: with TILE_VECTORS of them all sums stay in registers
#elif defined(__AVX2__)
constexpr int W = 8;
constexpr int TILE_ROWS = 3;
#elif defined(OST_NEON)
constexpr int W = 4;
constexpr int TILE_ROWS = 6;
#else
constexpr int W = 4;
constexpr int TILE_ROWS = 2;
#endif
constexpr int TILE_VECTORS = 4;

typedef float F __attribute__((vector_size(W * 4)));
typedef int32_t I __attribute__((vector_size(W * 4)));

inline F load(const float *p) {
    F v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

inline void store(float *p, F v) { std::memcpy(p, &v, sizeof v); }

inline F all(float x) { return x - F{}; }  // not 0 + x, an addition that stays: it makes 0 of -0

inline I bits(F v) {
    I i;
    std::memcpy(&i, &v, sizeof i);
    return i;
}

inline F from_bits(I i) {
    F v;
    std::memcpy(&v, &i, sizeof v);
    return v;
}

inline F fma(F a, F b, F c) {
#if defined(__AVX512F__)
    return _mm512_fmadd_ps(a, b, c);
#elif defined(__AVX2__)
    return _mm256_fmadd_ps(a, b, c);
#elif defined(OST_NEON)
    return vfmaq_f32(c, a, b);
#else
    typedef double D __attribute__((vector_size(W * 8)));
    const D wide = __builtin_convertvector(a, D) * __builtin_convertvector(b, D) + __builtin_convertvector(c, D);
    return __builtin_convertvector(wide, F);
#endif
}

// The first n of a vector, n from 1 to W; the rest are 0, or are left alone in memory.
inline F load(const float *p, int n) {
    if (n == W) return load(p);
#if defined(__AVX512F__)
    return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p);
#else
    float few[W] = {};
    std::memcpy(few, p, static_cast<size_t>(n) * sizeof(float));
    return load(few);
#endif
}

inline void store(float *p, F v, int n) {
    if (n == W) return store(p, v);
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1), v);
#else
    float few[W];
    store(few, v);
    std::memcpy(p, few, static_cast<size_t>(n) * sizeof(float));
#endif
}

// Added to the left side of products in eight bits: x86 multiplies unsigned bytes with signed ones, ARM signed ones.
#if defined(OST_NEON)
constexpr int OFFSET = 0;
#else
constexpr int OFFSET = 128;
#endif

// sum + the dot product, in every lane, of four bytes of x, unsigned where there is an OFFSET, and four signed bytes of
// w, none -128: exact.
inline I dot(I sum, I x, I w) {
#if defined(__AVX512VNNI__)
    return reinterpret_cast<I>(_mm512_dpbusd_epi32(reinterpret_cast<__m512i>(sum), reinterpret_cast<__m512i>(x), reinterpret_cast<__m512i>(w)));
#elif defined(__AVX512BW__)
    const __m512i u = reinterpret_cast<__m512i>(x), s = reinterpret_cast<__m512i>(w);
    const __m512i even = _mm512_madd_epi16(_mm512_and_si512(u, _mm512_set1_epi16(255)), _mm512_srai_epi16(_mm512_slli_epi16(s, 8), 8));
    const __m512i odd = _mm512_madd_epi16(_mm512_srli_epi16(u, 8), _mm512_srai_epi16(s, 8));
    return sum + reinterpret_cast<I>(even) + reinterpret_cast<I>(odd);
#elif defined(__AVX2__)
    const __m256i u = reinterpret_cast<__m256i>(x), s = reinterpret_cast<__m256i>(w);
    const __m256i even = _mm256_madd_epi16(_mm256_and_si256(u, _mm256_set1_epi16(255)), _mm256_srai_epi16(_mm256_slli_epi16(s, 8), 8));
    const __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(u, 8), _mm256_srai_epi16(s, 8));
    return sum + reinterpret_cast<I>(even) + reinterpret_cast<I>(odd);
#elif defined(OST_NEON) && defined(__ARM_FEATURE_DOTPROD)
    return reinterpret_cast<I>(vdotq_s32(reinterpret_cast<int32x4_t>(sum), reinterpret_cast<int8x16_t>(x), reinterpret_cast<int8x16_t>(w)));
#elif defined(OST_NEON)
    const int8x16_t a = reinterpret_cast<int8x16_t>(x), b = reinterpret_cast<int8x16_t>(w);
    const int16x8_t pairs = vpaddq_s16(vmull_s8(vget_low_s8(a), vget_low_s8(b)), vmull_high_s8(a, b));
    return reinterpret_cast<I>(vpadalq_s16(reinterpret_cast<int32x4_t>(sum), pairs));
#else
    for (int byte = 0; byte < 4; byte++) sum += (x >> (8 * byte) & 255) * (w << (24 - 8 * byte) >> 24);
    return sum;
#endif
}

inline I load_ints(const int32_t *p) {
    I v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

inline I all(int32_t x) { return I{} + x; }
inline F to_floats(I v) { return __builtin_convertvector(v, F); }

// Of b where one of the two is NaN.
inline F max(F a, F b) {
#if defined(__AVX512F__)
    return _mm512_maskz_max_ps(0xffff, a, b);
#elif defined(__AVX2__)
    return _mm256_max_ps(a, b);
#else
    return a > b ? a : b;
#endif
}
inline F min(F a, F b) {
#if defined(__AVX512F__)
    return _mm512_maskz_min_ps(0xffff, a, b);
#elif defined(__AVX2__)
    return _mm256_min_ps(a, b);
#else
    return a < b ? a : b;
#endif
}

}  // namespace ost::OST_ISA
