// exp, tanh and the logistic function of vectors. Bounds of their errors: tests/native, docs/native.md.
#pragma once

#include "../isa/simd.h"

namespace ost::OST_ISA {

// e^r - 1 for |r| <= ln(2) / 2.
inline F expm1_near(F r) {
    F p = all(1.9875691500e-4f);
    p = fma(p, r, all(1.3981999507e-3f));
    p = fma(p, r, all(8.3334519073e-3f));
    p = fma(p, r, all(4.1665795894e-2f));
    p = fma(p, r, all(1.6666665459e-1f));
    p = fma(p, r, all(5.0000001201e-1f));
    return fma(p, r * r, r);
}

// e^x = 2^n e^r with x = n ln 2 + r, |r| <= ln(2) / 2 (Cody and Waite 1980).
struct Split {
    F r;
    I n;  // in the high bits, where the exponent of a float is
};

inline Split split(F x) {
    const F magic = all(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer, in the low bits of the sum
    const F shifted = fma(x, all(1.44269504f), magic);
    const F n = shifted - magic;
    const F r = fma(n, all(-0.693359375f), x);
    return {fma(n, all(2.12194440e-4f), r), bits(shifted) << 23};
}

// Below -87.3 the result would not be a normal number: it is 0. Above 88.7 it is infinite. NaN stays NaN.
inline F exp(F x) {
    const F low = all(-87.33654f), high = all(88.72283f);
    const Split s = split(max(low, min(high, x)));
    // 2^n in two factors: n reaches 128, which has no float of its own.
    const I whole = s.n >> 23, half = whole >> 1;
    const F p = expm1_near(s.r) + 1.0f;
    const F scaled = p * from_bits((half + 127) << 23) * from_bits((whole - half + 127) << 23);
    return x < low ? F{} : (x > high ? all(__builtin_inff()) : scaled);
}

// e^x - 1 for x <= 0.
inline F expm1(F x) { return x > -0.34657359f ? expm1_near(x) : exp(x) - 1.0f; }

// e^x for x from -87 to 88, where 2^n and the result are normal numbers.
inline F exp_inside(F x) {
    const Split s = split(x);
    return from_bits(bits(expm1_near(s.r) + 1.0f) + s.n);
}

// 1 / (1 + e^-x). Below -88 the result would not be a normal number: it is 0.
inline F sigmoid(F x) {
    const F y = 1.0f / (1.0f + exp_inside(max(all(-87.0f), min(all(88.0f), -x))));
    return x < -88.0f ? F{} : y;
}

// Near 0 an odd polynomial, so that the relative error stays small; elsewhere 1 - 2 / (e^2x + 1), from 10 on 1.
inline F tanh(F x) {
    const F size = min(all(10.0f), from_bits(bits(x) & 0x7fffffff));
    const F square = x * x;
    F p = all(-5.70498872745e-3f);
    p = fma(p, square, all(2.06390887954e-2f));
    p = fma(p, square, all(-5.37397155531e-2f));
    p = fma(p, square, all(1.33314422036e-1f));
    p = fma(p, square, all(-3.33332819422e-1f));
    const F near = fma(p * square, x, x);
    const F far = 1.0f - 2.0f / (exp_inside(size + size) + 1.0f);
    const F signed_far = from_bits(bits(far) | (bits(x) & static_cast<int32_t>(0x80000000)));
    return size < 0.625f ? near : signed_far;
}

}  // namespace ost::OST_ISA
