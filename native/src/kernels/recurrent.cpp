// Layers over whole sequences, for training: forward and backward, several at once.

#include <memory>
#include <vector>

#include "../pool.h"
#include "cells.h"
#include "kernels.h"
#include "weights.h"

namespace ost::OST_ISA {
namespace {

// A layer, the threads that compute it, and its memory.
class Team {
  public:
    Team(const ost_layer &layer, int threads, Direction direction)
        : layer_(layer),
          direction_(direction),
          outside_(layer_, direction),
          program_(program_of(layer.cell, direction)),
          panels_(program_.panels(layer_)),
          grid_(threads, weight_floats() * sizeof(float), layer.B, layer.H),
          barriers_(new Barrier[static_cast<size_t>(grid_.row_parts())]) {
        everyone_.set(threads);
        for (int i = 0; i < grid_.row_parts(); i++) barriers_[static_cast<size_t>(i)].set(grid_.unit_parts);
    }

    size_t floats() const {
        const size_t inside = weight_floats() + room_floats() + sums_floats() * static_cast<size_t>(grid_.threads);
        return std::max(inside, outside_.floats(grid_.threads));
    }

    void take(float *memory) {
        memory_ = memory;
        for (Panels &p : panels_) {
            p.put_at(memory);
            memory += p.floats();
        }
        room_ = memory;
        sums_ = memory + room_floats();
    }

    void work(int rank) {
        if (direction_ == FORWARD) outside_.work(rank, grid_.threads, everyone_, memory_);
        for (const Panels &p : panels_)
            for (int block = rank; block < blocks_of(layer_.H); block += grid_.threads) p.pack(block);
        everyone_.wait();
        const Member me = grid_.member(rank, barriers_.get(), sums_ + sums_floats() * static_cast<size_t>(rank));
        program_.steps(layer_, me, panels_, room_);
        if (direction_ == FORWARD) return;
        everyone_.wait();
        outside_.work(rank, grid_.threads, everyone_, memory_);
    }

  private:
    size_t weight_floats() const {
        size_t sum = 0;
        for (const Panels &p : panels_) sum += p.floats();
        return sum;
    }
    size_t room_floats() const { return round_up(static_cast<size_t>(layer_.B) * static_cast<size_t>(layer_.H)); }
    size_t sums_floats() const { return static_cast<size_t>(layer_.B) * TILE_VECTORS * W; }
    static size_t round_up(size_t floats) { return (floats + 15) / 16 * 16; }

    Layer layer_;
    Direction direction_;
    Outside outside_;
    Program program_;
    AllPanels panels_;
    Grid grid_;
    std::unique_ptr<Barrier[]> barriers_;
    Barrier everyone_;
    float *memory_ = nullptr, *room_ = nullptr, *sums_ = nullptr;
};

// Layers share the threads out evenly; when there are more layers than threads, each thread takes several in turn.
bool compute(const ost_layer *layers, int count, int threads, Direction direction) {
    Lease lease(threads);
    const int lanes = std::min(count, lease.threads()), each = lease.threads() / lanes;
    std::vector<std::unique_ptr<Team>> teams;
    size_t floats = 0;
    for (int i = 0; i < count; i++) {
        teams.push_back(std::make_unique<Team>(layers[i], each, direction));
        floats += teams.back()->floats();
    }
    float *memory = lease.memory(floats);
    if (!memory) return false;
    for (auto &team : teams) {
        team->take(memory);
        memory += team->floats();
    }
    lease.run([&](int rank) {
        if (rank / each >= lanes) return;
        for (int i = rank / each; i < count; i += lanes) teams[static_cast<size_t>(i)]->work(rank % each);
    });
    return true;
}

}  // namespace

bool recurrent_forward(const ost_layer *layers, int count, int threads) {
    return compute(layers, count, threads, FORWARD);
}

bool recurrent_backward(const ost_layer *layers, int count, int threads) {
    return compute(layers, count, threads, BACKWARD);
}

}  // namespace ost::OST_ISA
