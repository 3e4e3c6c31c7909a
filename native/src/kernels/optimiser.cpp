// AdamW (Loshchilov and Hutter 2019) with clipping and a running average of the weights: two passes over the gradients,
// one over everything else.

#include <algorithm>
#include <cmath>
#include <vector>

#include "../pool.h"
#include "functions.h"
#include "kernels.h"

namespace ost::OST_ISA {
namespace {

constexpr int LANES = 16;
constexpr int64_t BLOCK = 16 * 1024;  // values at once; sums are made by block, so that they do not depend on threads

// A part of a tensor.
struct Piece {
    const ost_tensor *tensor;
    int64_t begin, end;
};

F square_root(F x) {
    F y;
    for (int j = 0; j < W; j++) y[j] = __builtin_sqrtf(x[j]);
    return y;
}

F clamped(F x, float bound) { return bound > 0.0f ? max(min(x, all(bound)), all(-bound)) : x; }

// The sum of squares, with every value clipped to +-bound (0: as it is).
double squares(const Piece &p, float bound) {
    double lanes[LANES] = {};
    for (int64_t i = p.begin; i < p.end; i += LANES)
        for (int j = 0; j < std::min<int64_t>(LANES, p.end - i); j++) {
            float g = p.tensor->gradient[i + j];
            if (bound > 0.0f) g = std::max(std::min(g, bound), -bound);
            lanes[j] += static_cast<double>(g) * static_cast<double>(g);
        }
    double sum = 0.0;
    for (const double lane : lanes) sum += lane;
    return sum;
}

struct Step {
    float decay, rate, beta1, beta2, epsilon, root, scale, bound, keep;

    void operator()(const Piece &p) const {
        const ost_tensor &t = *p.tensor;
        for (int64_t i = p.begin; i < p.end; i += W) {
            const int n = static_cast<int>(std::min<int64_t>(W, p.end - i));
            const F g = clamped(load(t.gradient + i, n), bound) * all(scale);
            F m = load(t.first + i, n), v = load(t.second + i, n), w = load(t.weights + i, n);
            m = fma(all(1.0f - beta1), g - m, m);
            v = fma(all(1.0f - beta2), fma(g, g, -v), v);
            w = w * (1.0f - decay * t.decay) - rate * m / (square_root(v) * root + epsilon);
            store(t.first + i, m, n);
            store(t.second + i, v, n);
            store(t.weights + i, w, n);
            if (t.average) {
                const F a = load(t.average + i, n);
                store(t.average + i, fma(all(1.0f - keep), w - a, a), n);
            }
        }
    }
};

}  // namespace

bool update(ost_update &u, int threads) {
    std::vector<Piece> pieces;
    for (int i = 0; i < u.count; i++)
        for (int64_t begin = 0; begin < u.tensors[i].size; begin += BLOCK)
            pieces.push_back({u.tensors + i, begin, std::min(begin + BLOCK, u.tensors[i].size)});
    std::vector<double> before(pieces.size()), after(pieces.size());
    Lease lease(threads);
    const auto shared = [&](auto &&work) {
        lease.run([&](int rank) {
            const size_t n = static_cast<size_t>(lease.threads()), i = static_cast<size_t>(rank);
            for (size_t k = pieces.size() * i / n; k < pieces.size() * (i + 1) / n; k++) work(k);
        });
    };
    const float bound = static_cast<float>(u.clip_value);
    shared([&](size_t k) {
        before[k] = squares(pieces[k], 0.0f);
        after[k] = bound > 0.0f ? squares(pieces[k], bound) : before[k];
    });
    const auto norm = [](const std::vector<double> &sums) {
        double sum = 0.0;
        for (const double s : sums) sum += s;
        return std::sqrt(sum);
    };
    u.norms[0] = norm(before);
    u.norms[1] = norm(after);
    if (!std::isfinite(u.norms[0])) return true;
    double scale = 1.0;
    if (u.clip > 0.0 && u.norms[1] > u.clip) {
        scale = u.clip / u.norms[1];
        u.norms[1] = u.clip;
    }
    const double steps = static_cast<double>(u.step);
    const Step step{static_cast<float>(u.rate),
                    static_cast<float>(u.rate / (1.0 - std::pow(u.beta1, steps))),
                    static_cast<float>(u.beta1),
                    static_cast<float>(u.beta2),
                    static_cast<float>(u.epsilon),
                    static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(u.beta2, steps))),
                    static_cast<float>(scale),
                    bound,
                    static_cast<float>(u.keep)};
    shared([&](size_t k) { step(pieces[k]); });
    return true;
}

}  // namespace ost::OST_ISA
