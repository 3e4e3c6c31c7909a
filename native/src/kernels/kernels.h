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

struct Kernels {
    bool (*recurrent_forward)(const ost_layer *layers, int count, int threads);
    bool (*recurrent_backward)(const ost_layer *layers, int count, int threads);
    bool (*multiply)(const ost_product &product, int threads);
    bool (*output)(const ost_output &output, int threads);
    bool (*dropout)(const ost_dropping &dropping, int threads);
    bool (*update)(ost_update &update, int threads);
    std::unique_ptr<Engine> (*engine)(const ost_model &model, int threads);
    void (*apply)(int function, int64_t n, const float *x, float *y);
};

}  // namespace ost
