// A trained model that reads and writes: weights packed once, all steps of all streams without leaving the core.

#include <cmath>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#include "../pool.h"
#include "cells.h"
#include "kernels.h"
#include "sampling.h"

namespace ost::OST_ISA {

bool multiply(const ost_product &product, int threads);

namespace {

// The first layer's product with its input is looked up when the table of all tokens is no larger than this.
constexpr size_t TABLE_BYTES = 16 << 20;
constexpr float NORM_EPSILON = 1e-5f;

size_t area(int rows, int columns) { return static_cast<size_t>(rows) * static_cast<size_t>(columns); }

struct Freed {
    void operator()(float *p) const { std::free(p); }
};
using Floats = std::unique_ptr<float, Freed>;

Floats allocate(size_t floats) {
    float *p = static_cast<float *>(std::aligned_alloc(64, (floats + 15) / 16 * 64));
    if (!p) throw std::bad_alloc();
    return Floats(p);
}

// Hands out parts of one piece of memory; without memory it only counts.
struct Arena {
    float *memory;
    size_t used = 0;

    float *take(size_t floats) {
        float *at = memory ? memory + used : nullptr;
        used += (floats + 15) / 16 * 16;
        return at;
    }
};

// A layer: its weights, packed.
struct Packed {
    ost_model_layer given;
    Layer layer;  // as the cells know it; the arrays of a call are still to be set
    Panels input;
    Program program;
    AllPanels recurrent;

    explicit Packed(const ost_model_layer &l)
        : given(l),
          layer(recurrent_part(l)),
          input(layer.G() == 1 ? 0 : layer.G(), l.H, {input_matrix(l, layer.G())}),
          program(program_of(l.cell, FORWARD)),
          recurrent(program.panels(layer)) {}

    bool has_cell() const { return given.cell >= OST_LSTM; }

  private:
    static Layer recurrent_part(const ost_model_layer &l) {
        ost_layer layer{};
        layer.cell = l.cell;
        layer.T = 1;
        layer.H = l.H;
        layer.weight_hh = l.weight_hh;
        layer.bias_hn = l.bias_hn;
        layer.weight_ci = l.weight_ci;
        layer.weight_cf = l.weight_cf;
        layer.weight_co = l.weight_co;
        return Layer(layer);
    }
    static Matrix input_matrix(const ost_model_layer &l, int G) {
        Matrix m{{}, l.I, 1, l.I};
        for (int g = 0; g < G; g++) m.gates[static_cast<size_t>(g)] = l.weight_ih + static_cast<ptrdiff_t>(g) * l.H * l.I;
        return m;
    }
};

// What one call works in. A layer's arrays of states hold the state before and the one after a step.
struct Room {
    struct OfLayer {
        Layer layer;
        float *outputs;
    };
    std::vector<OfLayer> layers;
    std::vector<float *> x;  // for each part of the units the embedded tokens (B, E)
    float *readout, *logits, *weights;
    std::vector<int64_t> ids;
    std::vector<Member> members;  // for each thread; its blocks depend on the layer
};

class Model final : public Engine {
  public:
    Model(const ost_model &m, int threads)
        : model_(m), output_(0, m.V, {Matrix{{m.output_weight}, m.R, 1, m.R}}) {
        for (int i = 0; i < m.layers; i++) layers_.emplace_back(m.layer[i]);
        const std::vector<Panels *> panels = all_panels();
        Arena count{nullptr};
        for (Panels *p : panels) {
            if (m.int8) p->use_int8();
            count.take(p->floats());
        }
        const size_t table = area(m.V, static_cast<int>(layers_[0].layer.width()));
        const bool tabled = table * sizeof(float) <= TABLE_BYTES;
        bytes_ = static_cast<int64_t>((count.used + (tabled ? table : 0)) * sizeof(float));
        memory_ = allocate(count.used);
        Arena arena{memory_.get()};
        for (Panels *p : panels) {
            p->put_at(arena.take(p->floats()));
            for (int block = 0; block < blocks_of(p->units()); block++) p->pack(block);
        }
        if (tabled) make_table(threads);
        for (const Packed &l : layers_) {
            size_t floats = l.input.floats();
            for (const Panels &p : l.recurrent) floats += p.floats();
            largest_ = std::max(largest_, floats * sizeof(float));
        }
    }

    int state_width() const override {
        int sum = model_.R;
        for (const Packed &l : layers_) sum += l.given.H * (l.has_cell() ? 2 : 1);
        return sum;
    }

    int64_t bytes() const override { return bytes_; }

    bool read(const ost_reading &reading, int threads) override {
        return call(reading.B, reading.states, threads, [&](Room &room, const Rank &rank) {
            rank.each_row([&](int row) { room.ids[static_cast<size_t>(row)] = reading.ids[row]; });
            rank.meet();
            step(room, rank);
            if (reading.logits) score(room, rank, reading.logits);
        });
    }

    bool write(const ost_writing &w, int threads) override {
        const int S = state_width();
        return call(w.B, w.states, threads, [&](Room &room, const Rank &rank) {
            for (int n = 0; n < w.steps; n++) {
                score(room, rank, room.logits);
                rank.meet();
                rank.each_row([&](int row) {
                    const size_t i = area(n, w.B) + static_cast<size_t>(row);
                    float *scores = room.logits + area(row, model_.V), *weights = room.weights + area(row, model_.V);
                    const int id = sample(w, model_.V, scores, weights, w.uniforms[i], w.logprobs[i]);
                    w.ids[i] = room.ids[static_cast<size_t>(row)] = id;
                });
                rank.meet();
                step(room, rank);
                if (w.history)
                    rank.each_row([&](int row) { store_state(room, row, w.history + (area(n, w.B) + static_cast<size_t>(row)) * static_cast<size_t>(S)); });
            }
        });
    }

  private:
    // One thread of a call.
    struct Rank {
        const Grid &grid;
        int part;  // which part of the units is its own, of those with the same rows
        Member member;

        void meet() const { member.meet(); }

        // The rows that it alone looks after.
        template <class E>
        void each_row(E &&e) const {
            for (int row = member.row_begin + part; row < member.row_end; row += grid.unit_parts) e(row);
        }

        // Its share of a layer of so many units.
        Member of(int units) const {
            Member m = member;
            grid.share_units(part, units, m);
            return m;
        }
    };

    std::vector<Panels *> all_panels() {
        std::vector<Panels *> all{&output_};
        for (Packed &l : layers_) {
            all.push_back(&l.input);
            for (Panels &p : l.recurrent) all.push_back(&p);
        }
        return all;
    }

    // What the first layer makes of every token: (V, G*H).
    void make_table(int threads) {
        const Packed &first = layers_[0];
        const int width = static_cast<int>(first.layer.width());
        table_ = allocate(area(model_.V, width));
        ost_product p{};
        p.M = model_.V;
        p.N = width;
        p.K = model_.E;
        p.a = model_.embedding;
        p.a_row = model_.E;
        p.a_k = 1;
        p.b = first.given.weight_ih;
        p.b_k = 1;
        p.b_column = model_.E;
        p.c = table_.get();
        p.c_row = width;
        p.bias = first.given.bias;
        if (!multiply(p, threads)) throw std::bad_alloc();
    }

    template <class Work>
    bool call(int B, float *states, int threads, Work &&work) {
        Lease lease(threads);
        const Grid grid(lease.threads(), largest_, B, layers_[0].given.H);
        Arena count{nullptr};
        lay_out(count, B, grid);
        float *memory = lease.memory(count.used);
        if (!memory) return false;
        Arena arena{memory};
        Room room = lay_out(arena, B, grid);
        std::unique_ptr<Barrier[]> barriers(new Barrier[static_cast<size_t>(grid.row_parts())]);
        for (int i = 0; i < grid.row_parts(); i++) barriers[static_cast<size_t>(i)].set(grid.unit_parts);
        const size_t S = static_cast<size_t>(state_width());
        lease.run([&](int i) {
            Rank rank{grid, i % grid.unit_parts, room.members[static_cast<size_t>(i)]};
            rank.member.barrier = &barriers[static_cast<size_t>(i / grid.unit_parts)];
            rank.each_row([&](int row) { load_state(room, row, states + static_cast<size_t>(row) * S); });
            rank.meet();
            work(room, rank);
            rank.meet();
            rank.each_row([&](int row) { store_state(room, row, states + static_cast<size_t>(row) * S); });
        });
        return true;
    }

    Room lay_out(Arena &arena, int B, const Grid &grid) const {
        Room room;
        int widest = std::max(model_.E, model_.R);
        for (const Packed &l : layers_) {
            const int H = l.given.H;
            Room::OfLayer of{l.layer, nullptr};
            of.layer.B = B;
            of.layer.gates = arena.take(area(B, static_cast<int>(l.layer.width())));
            of.layer.h = arena.take(2 * area(B, H));
            of.layer.c = l.has_cell() ? arena.take(2 * area(B, H)) : nullptr;
            of.layer.extra = arena.take(area(B, H));
            if (model_.keep > 0.0f) {
                float *keep = arena.take(area(B, H));
                if (keep) std::fill(keep, keep + area(B, H), model_.keep);
                of.layer.keep_h = of.layer.keep_c = keep;
            }
            of.outputs = arena.take(area(B, H));
            widest = std::max({widest, l.given.I, H});
            room.layers.push_back(of);
        }
        for (int i = 0; i < grid.unit_parts; i++) room.x.push_back(arena.take(area(B, model_.E)));
        room.readout = arena.take(area(B, model_.R));
        room.logits = arena.take(area(B, model_.V));
        room.weights = arena.take(area(B, model_.V));
        room.ids.resize(static_cast<size_t>(B));
        for (int i = 0; i < grid.threads; i++) {
            Member m = grid.member(i, nullptr, nullptr);
            const int rows = m.row_end - m.row_begin;
            m.sums = arena.take(area(rows, TILE_VECTORS * W));
            if (model_.int8) {  // at most two sources at once
                m.bytes = reinterpret_cast<int32_t *>(arena.take(2 * area(rows, quads(widest))));
                m.scales = arena.take(2 * static_cast<size_t>(rows));
            }
            room.members.push_back(m);
        }
        return room;
    }

    // Where the parts of a stream's state lie, in their order: f(place, width).
    template <class E>
    void each_part(const Room &room, int row, int time, E &&e) const {
        for (const Room::OfLayer &l : room.layers) {
            e(l.layer.at(l.layer.h, time) + l.layer.of(row, 0), l.layer.H);
            if (l.layer.c) e(l.layer.at(l.layer.c, time) + l.layer.of(row, 0), l.layer.H);
        }
        e(room.readout + area(row, model_.R), model_.R);
    }
    void load_state(const Room &room, int row, const float *from) const {
        each_part(room, row, 0, [&](float *part, int width) {
            std::copy(from, from + width, part);
            from += width;
        });
    }
    void store_state(const Room &room, int row, float *to) const {
        each_part(room, row, 0, [&](const float *part, int width) { to = std::copy(part, part + width, to); });
    }

    // Read room.ids: new states and readout. All members meet at the end.
    void step(Room &room, const Rank &rank) const {
        const float *x = room.x[static_cast<size_t>(rank.part)];
        if (!table_ || model_.residual) embed(room, rank);
        for (size_t k = 0; k < layers_.size(); k++) {
            const Packed &packed = layers_[k];
            const Room::OfLayer &of = room.layers[k];
            const Member me = rank.of(packed.given.H);
            project(room, packed, of, me, k == 0 ? x : nullptr, k == 0 ? nullptr : output_of(room, k - 1));
            packed.program.steps(of.layer, me, packed.recurrent, nullptr);
            me.each(packed.given.H, [&](int row, int unit, int n) { settle(of.layer, row, unit, n); });
            if (transforms(packed)) {
                rank.each_row([&](int row) { transform(packed, of, row, k == 0 ? x : output_of(room, k - 1)); });
                rank.meet();
            }
        }
        rank.each_row([&](int row) { read_out(room, row); });
        rank.meet();
    }

    // The state after the step becomes the one before the next.
    static void settle(const Layer &l, int row, int unit, int n) {
        const ptrdiff_t i = l.of(row, unit);
        store(l.h + i, load(l.at(l.h, 1) + i, n), n);
        if (l.c) store(l.c + i, load(l.at(l.c, 1) + i, n), n);
    }

    void embed(Room &room, const Rank &rank) const {
        float *x = room.x[static_cast<size_t>(rank.part)];
        for (int row = rank.member.row_begin; row < rank.member.row_end; row++) {
            const float *from = model_.embedding + area(static_cast<int>(room.ids[static_cast<size_t>(row)]), model_.E);
            std::copy(from, from + model_.E, x + area(row, model_.E));
        }
    }

    // The gates' share of the input: W x + b.
    void project(const Room &room, const Packed &packed, const Room::OfLayer &of, const Member &me, const float *x, const float *below) const {
        const Layer &l = of.layer;
        if (x && table_) {
            me.each(l.H, [&](int row, int unit, int n) {
                const float *from = table_.get() + room.ids[static_cast<size_t>(row)] * l.width();
                for (int g = 0; g < l.G(); g++) store(l.gates + l.of(row, g, unit), load(from + g * l.H + unit, n), n);
            });
            return;
        }
        const float *input = x ? x : below;
        me.multiply(packed.input, {{input, packed.given.I, packed.given.I}}, [&](int row, int unit, int n, const float *sum) {
            for (int g = 0; g < l.G(); g++)
                store(l.gates + l.of(row, g, unit), load(sum + g * W) + load(packed.given.bias + g * l.H + unit, n), n);
        });
    }

    bool adds_input(const Packed &packed) const { return model_.residual && packed.given.I == packed.given.H; }
    bool transforms(const Packed &packed) const { return adds_input(packed) || packed.given.norm_weight; }
    const float *output_of(const Room &room, size_t k) const {
        const Room::OfLayer &of = room.layers[k];
        return transforms(layers_[k]) ? of.outputs : of.layer.at(of.layer.h, 1);
    }

    // One row of a layer's output: the state, with the input added and normalised where the model says so.
    void transform(const Packed &packed, const Room::OfLayer &of, int row, const float *input) const {
        const int H = packed.given.H;
        const float *h = of.layer.at(of.layer.h, 1) + area(row, H), *x = input + area(row, H);
        float *y = of.outputs + area(row, H);
        for (int i = 0; i < H; i++) y[i] = adds_input(packed) ? h[i] + x[i] : h[i];
        if (!packed.given.norm_weight) return;
        float mean = 0.0f, variance = 0.0f;
        for (int i = 0; i < H; i++) mean += y[i];
        mean /= static_cast<float>(H);
        for (int i = 0; i < H; i++) variance += (y[i] - mean) * (y[i] - mean);
        const float scale = 1.0f / std::sqrt(variance / static_cast<float>(H) + NORM_EPSILON);
        for (int i = 0; i < H; i++) y[i] = (y[i] - mean) * scale * packed.given.norm_weight[i] + packed.given.norm_bias[i];
    }

    void read_out(Room &room, int row) const {
        float *to = room.readout + area(row, model_.R);
        for (size_t k = model_.skip_output ? 0 : layers_.size() - 1; k < layers_.size(); k++) {
            const int H = layers_[k].given.H;
            const float *from = output_of(room, k) + area(row, H);
            to = std::copy(from, from + H, to);
        }
    }

    // The scores (B, V) of the next token.
    void score(const Room &room, const Rank &rank, float *logits) const {
        rank.of(model_.V).multiply(output_, {{room.readout, model_.R, model_.R}}, [&](int row, int unit, int n, const float *sum) {
            store(logits + area(row, model_.V) + unit, load(sum) + load(model_.output_bias + unit, n), n);
        });
    }

    ost_model model_;
    std::vector<Packed> layers_;
    Panels output_;
    Floats memory_, table_;
    size_t largest_ = 0;  // bytes of the largest layer's weights
    int64_t bytes_ = 0;
};

}  // namespace

std::unique_ptr<Engine> engine(const ost_model &model, int threads) { return std::make_unique<Model>(model, threads); }

}  // namespace ost::OST_ISA
