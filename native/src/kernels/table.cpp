// The kernels of one instruction set.

#include "functions.h"
#include "kernels.h"

namespace ost::OST_ISA {

bool recurrent_forward(const ost_layer *layers, int count, int threads);
bool recurrent_backward(const ost_layer *layers, int count, int threads);
bool multiply(const ost_product &product, int threads);
bool output(const ost_output &output, int threads);
bool dropout(const ost_dropping &dropping, int threads);
bool update(ost_update &update, int threads);
std::unique_ptr<Engine> engine(const ost_model &model, int threads);
std::unique_ptr<PrefixBeam> prefix_beam(const ost_ctc_options &options);

namespace {

void apply(int function, int64_t n, const float *x, float *y) {
    for (int64_t i = 0; i < n; i += W) {
        const int some = static_cast<int>(n - i < W ? n - i : W);
        const F v = load(x + i, some);
        store(y + i, function == OST_EXP ? exp(v) : (function == OST_TANH ? tanh(v) : sigmoid(v)), some);
    }
}

}  // namespace

extern const Kernels kernels;
const Kernels kernels = {recurrent_forward, recurrent_backward, multiply, output, dropout, update, engine, prefix_beam, apply};

}  // namespace ost::OST_ISA
