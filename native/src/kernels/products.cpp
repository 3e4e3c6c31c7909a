// Large matrix products, each a call of its own.

#include "../pool.h"
#include "gemm.h"
#include "kernels.h"

namespace ost::OST_ISA {

bool multiply(const ost_product &product, int threads) {
    const Gemm gemm(product);
    const long long work = 1LL * product.M * product.N * product.K;
    Lease lease(work < (1 << 16) ? 1 : threads);
    const int parts = lease.threads();
    float *memory = lease.memory(gemm.floats(parts));
    if (!memory) return false;
    Barrier barrier;
    barrier.set(parts);
    lease.run([&](int rank) { gemm.work(rank, parts, barrier, memory); });
    return true;
}

}  // namespace ost::OST_ISA
