// The C interface: picks the kernels for this machine and passes calls on to them.

#include "../include/ostinato/core.h"

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "kernels/kernels.h"

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace ost {

namespace generic { extern const Kernels kernels; }
#if defined(OST_GENERIC_ONLY)
#elif defined(__x86_64__)
namespace avx2 { extern const Kernels kernels; }
namespace avx512 { extern const Kernels kernels; }
namespace avx512vnni { extern const Kernels kernels; }
#elif defined(__aarch64__)
namespace neon { extern const Kernels kernels; }
namespace neondot { extern const Kernels kernels; }
#endif

namespace {

struct Isa {
    const char *name;
    const Kernels *kernels;
};

// Those this machine can run, the best last.
std::vector<Isa> find_isas() {
    std::vector<Isa> found{{"generic", &generic::kernels}};
#if defined(OST_GENERIC_ONLY)  // a build for tests, quickly made
#elif defined(__x86_64__)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (avx2) found.push_back({"avx2", &avx2::kernels});
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    if (avx2 && avx512) found.push_back({"avx512", &avx512::kernels});
    if (avx2 && avx512 && __builtin_cpu_supports("avx512vnni")) found.push_back({"avx512vnni", &avx512vnni::kernels});
#elif defined(__aarch64__)
    found.push_back({"neon", &neon::kernels});
#if defined(__linux__)
    if (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) found.push_back({"neondot", &neondot::kernels});
#endif
#endif
    return found;
}

const std::vector<Isa> &isas() {
    static const std::vector<Isa> found = find_isas();
    return found;
}

std::atomic<const Isa *> &chosen() {
    static std::atomic<const Isa *> isa{&isas().back()};
    return isa;
}

const Kernels &kernels() { return *chosen().load()->kernels; }

// Nothing may be thrown across the border; what can be is that there is no memory.
template <class Call>
int32_t guarded(Call call) {
    try {
        return call() ? 0 : -1;
    } catch (const std::bad_alloc &) {
        return -1;
    }
}

}  // namespace
}  // namespace ost

using namespace ost;

extern "C" {

int32_t ost_version(void) { return OST_VERSION; }

const char *ost_isas(void) {
    static const std::string names = [] {
        std::string all;
        for (const Isa &isa : isas()) all += (all.empty() ? "" : " ") + std::string(isa.name);
        return all;
    }();
    return names.c_str();
}

const char *ost_isa(void) { return chosen().load()->name; }

int32_t ost_use_isa(const char *name) {
    for (const Isa &isa : isas())
        if (std::strcmp(isa.name, name) == 0) {
            chosen().store(&isa);
            return 0;
        }
    return -1;
}

int32_t ost_recurrent_forward(const ost_layer *layers, int32_t count, int32_t threads) {
    return guarded([&] { return kernels().recurrent_forward(layers, count, threads); });
}

int32_t ost_recurrent_backward(const ost_layer *layers, int32_t count, int32_t threads) {
    return guarded([&] { return kernels().recurrent_backward(layers, count, threads); });
}

int32_t ost_multiply(const ost_product *product, int32_t threads) {
    return guarded([&] { return kernels().multiply(*product, threads); });
}

int32_t ost_cross_entropy(const ost_output *output, int32_t threads) {
    return guarded([&] { return kernels().output(*output, threads); });
}

int32_t ost_dropout(const ost_dropping *dropping, int32_t threads) {
    return guarded([&] { return kernels().dropout(*dropping, threads); });
}

int32_t ost_step(ost_update *update, int32_t threads) {
    return guarded([&] { return kernels().update(*update, threads); });
}

struct ost_engine {
    std::unique_ptr<Engine> engine;
};

ost_engine *ost_engine_new(const ost_model *model, int32_t threads) {
    try {
        return new ost_engine{kernels().engine(*model, threads)};
    } catch (const std::bad_alloc &) {
        return nullptr;
    }
}

void ost_engine_free(ost_engine *engine) { delete engine; }

int32_t ost_engine_state_width(const ost_engine *engine) { return engine->engine->state_width(); }

int64_t ost_engine_bytes(const ost_engine *engine) { return engine->engine->bytes(); }

int32_t ost_engine_read(ost_engine *engine, const ost_reading *reading, int32_t threads) {
    return guarded([&] { return engine->engine->read(*reading, threads); });
}

int32_t ost_engine_write(ost_engine *engine, const ost_writing *writing, int32_t threads) {
    return guarded([&] { return engine->engine->write(*writing, threads); });
}

struct ost_ctc {
    std::unique_ptr<PrefixBeam> beam;
};

ost_ctc *ost_ctc_new(const ost_ctc_options *options) {
    try {
        return new ost_ctc{kernels().prefix_beam(*options)};
    } catch (const std::bad_alloc &) {
        return nullptr;
    }
}

void ost_ctc_free(ost_ctc *beam) { delete beam; }

int32_t ost_ctc_advance(ost_ctc *beam, int64_t T, const double *frames) {
    return guarded([&] { return beam->beam->advance(T, frames), true; });
}

int32_t ost_ctc_size(const ost_ctc *beam, int64_t *longest) { return beam->beam->size(longest); }

void ost_ctc_came(const ost_ctc *beam, int32_t *origins, int32_t *labels) { beam->beam->came(origins, labels); }

int32_t ost_ctc_fuse(ost_ctc *beam, int32_t N, const int32_t *places, const double *extras, const double *gains) {
    return guarded([&] { return beam->beam->fuse(N, places, extras, gains), true; });
}

void ost_ctc_totals(const ost_ctc *beam, double *logprobs) { beam->beam->totals(logprobs); }

int64_t ost_ctc_read(const ost_ctc *beam, int32_t place, int32_t *labels, int64_t *starts, int64_t *ends) {
    return beam->beam->read(place, labels, starts, ends);
}

void ost_apply(int32_t function, int64_t n, const float *x, float *y) { kernels().apply(function, n, x, y); }

}
