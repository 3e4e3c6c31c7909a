// Dropout by a counter: whether an element stays depends on the seed and its place alone. So threads share the work, no mask
// is kept, and a gradient is dropped as its value was.

#include <algorithm>
#include <cmath>

#include "../pool.h"
#include "kernels.h"

namespace ost::OST_ISA {
namespace {

constexpr int64_t BLOCK = 16 * 1024;

// A permutation of 32 bits each of whose bits depends on all (Wellons 2018, "lowbias32": bias 0.17 of a thousandth).
inline uint32_t mixed(uint32_t h) {
    h = (h ^ h >> 16) * 0x7feb352du;
    h = (h ^ h >> 15) * 0x846ca68bu;
    return h ^ h >> 16;
}

// The same for 64 bits (Steele et al. 2014, SplitMix): seeds that follow each other have keys that do not.
uint64_t mixed_seed(uint64_t z) {
    z += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

}  // namespace

bool dropout(const ost_dropping &d, int threads) {
    const uint64_t keys = mixed_seed(d.seed);
    const uint32_t low = static_cast<uint32_t>(keys), high = static_cast<uint32_t>(keys >> 32);
    const uint32_t below = static_cast<uint32_t>(std::min(d.p * 4294967296.0, 4294967295.0));
    const float scale = static_cast<float>(1.0 / (1.0 - d.p));
    const int64_t blocks = (d.n + BLOCK - 1) / BLOCK;
    Lease lease(static_cast<int>(std::min<int64_t>(threads, blocks)));
    lease.run([&](int rank) {
        const int64_t n = lease.threads();
        const int64_t end = std::min(d.n, blocks * (rank + 1) / n * BLOCK);
        for (int64_t i = blocks * rank / n * BLOCK; i < end; i++) {
            // Twice, with a key each: sequences of two seeds are not parts of each other.
            const uint32_t h = mixed(mixed(static_cast<uint32_t>(i) + low) ^ high);
            const float kept = d.x[i] * scale;
            d.y[i] = h >= below ? kept : 0.0f;
        }
    });
    return true;
}

}  // namespace ost::OST_ISA
