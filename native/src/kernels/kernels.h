// What every instruction set offers: the table that the interface calls through.
#pragma once

#include <cstdint>
#include <memory>

#include "../../include/ostinato/core.h"

namespace ost {

struct Engine {
    virtual ~Engine() = default;
    virtual int state_width() const = 0;
    virtual int64_t bytes() const = 0;
    virtual bool read(const ost_reading &reading, int threads) = 0;
    virtual bool write(const ost_writing &writing, int threads) = 0;
};

struct PrefixBeam {
    virtual ~PrefixBeam() = default;
    virtual void advance(int64_t T, const double *frames) = 0;
    virtual int32_t size(int64_t *longest) const = 0;
    virtual void came(int32_t *origins, int32_t *labels) const = 0;
    virtual void fuse(int32_t N, const int32_t *places, const double *extras, const double *gains) = 0;
    virtual void totals(double *logprobs) const = 0;
    virtual int64_t read(int32_t place, int32_t *labels, int64_t *starts, int64_t *ends) const = 0;
};

struct Kernels {
    bool (*recurrent_forward)(const ost_layer *layers, int count, int threads);
    bool (*recurrent_backward)(const ost_layer *layers, int count, int threads);
    bool (*multiply)(const ost_product &product, int threads);
    bool (*output)(const ost_output &output, int threads);
    bool (*dropout)(const ost_dropping &dropping, int threads);
    bool (*update)(ost_update &update, int threads);
    std::unique_ptr<Engine> (*engine)(const ost_model &model, int threads);
    std::unique_ptr<PrefixBeam> (*prefix_beam)(const ost_ctc_options &options);
    void (*apply)(int function, int64_t n, const float *x, float *y);
};

}  // namespace ost
