// The output layer with its loss: linear, softmax and cross entropy, forward and backward, without ever holding the
// scores of all tokens.
//
// Scores are made the other way round, a row for each word of the vocabulary and a column for each token: so the weight
// is read as it lies, and every product of forward and backward pass finds its panel ready. Words go in chunks whose
// scores stay in the cache: each has a largest score and a sum of its own, which are put together when all are known.

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "../pool.h"
#include "functions.h"
#include "kernels.h"
#include "pack.h"
#include "tile.h"

namespace ost::OST_ISA {
namespace {

constexpr int PANEL = TILE_VECTORS * W;       // tokens side by side
constexpr int CHUNK = 240;                    // words at once: their weights and scores stay in the cache
constexpr int MOST_SLOTS = 6;                  // panels that are learned from at once, while a chunk's gradient is at hand
constexpr size_t PRIVATE_BYTES = 512 * 1024;  // up to here each thread has a gradient of the weight of its own

size_t area(int rows, int columns) { return static_cast<size_t>(rows) * static_cast<size_t>(columns); }

int round_up(int n, int to) { return (n + to - 1) / to * to; }

struct Loss : ost_output {
    explicit Loss(const ost_output &o) : ost_output(o) {}

    bool gradient() const { return d_x != nullptr; }
    int panels() const { return (N + PANEL - 1) / PANEL; }
    int chunks() const { return (V + CHUNK - 1) / CHUNK; }
    int words_of(int chunk) const { return std::min(CHUNK, V - chunk * CHUNK); }
    int width() const { return round_up(R, PANEL); }
    int vectors_of(int block) const { return std::min(TILE_VECTORS, (R - block + W - 1) / W); }
    int tokens_in(int panel) const { return std::min(PANEL, N - panel * PANEL); }
};

// What one thread works with; `slot` is the place of a panel in its group.
struct Share {
    int chunk_begin, chunk_end;
    float *d_weight, *d_bias;  // where its part of the gradient adds up, by word
    float *columns;            // (slots, R, PANEL): the group's tokens, as columns
    float *rows;               // (slots, R / PANEL, PANEL, PANEL): as rows
    float *scores;             // (slots, chunks, CHUNK, PANEL)
    float *d_scores;           // (CHUNK, PANEL)
    float *d_columns[2];       // (slots, R, PANEL), of this group and of the one before
    float *tail;               // (CHUNK, PANEL)
    float *transposed;         // (PANEL, width)

    float *scores_of(int slot, int chunk) const {
        return scores + area(slot * (chunk_end - chunk_begin) + chunk - chunk_begin, CHUNK) * PANEL;
    }
};

// By token of a group: for each chunk the largest score and the sum of e^(score - largest); the target's score.
struct Softmax {
    std::vector<float> peaks, sums, targets;

    Softmax(int chunks, int slots)
        : peaks(area(chunks * slots, PANEL)), sums(peaks.size()), targets(area(slots, PANEL)), chunks_(chunks) {}
    float *peak(int slot, int chunk) { return peaks.data() + area(slot * chunks_ + chunk, PANEL); }
    float *sum(int slot, int chunk) { return sums.data() + area(slot * chunks_ + chunk, PANEL); }
    float *target(int slot) { return targets.data() + area(slot, PANEL); }

  private:
    int chunks_;
};

// The scores of a chunk of words for a panel of tokens, as e^(score - largest).
void score(const Loss &l, const Share &s, int panel, int slot, int chunk, Softmax &softmax) {
    float *scores = s.scores_of(slot, chunk);
    const int words = l.words_of(chunk), first = chunk * CHUNK;
    product(words, TILE_VECTORS, l.R, l.weight + area(first, l.R), l.R, 1, s.columns + area(slot, l.R) * PANEL, scores, PANEL, false);
    F most[TILE_VECTORS], sum[TILE_VECTORS] = {};
    for (F &m : most) m = all(-std::numeric_limits<float>::infinity());
    for (int i = 0; i < words; i++) {
        const F offset = all(l.bias ? l.bias[first + i] : 0.0f);
        for (int v = 0; v < TILE_VECTORS; v++) {
            float *at = scores + area(i, PANEL) + v * W;
            const F value = load(at) + offset;
            store(at, value);
            most[v] = max(most[v], value);
        }
    }
    for (int i = 0; i < l.tokens_in(panel); i++) {
        const int64_t word = l.targets[panel * PANEL + i] - first;
        if (word >= 0 && word < words) softmax.target(slot)[i] = scores[area(static_cast<int>(word), PANEL) + static_cast<size_t>(i)];
    }
    for (int i = 0; i < words; i++)
        for (int v = 0; v < TILE_VECTORS; v++) {
            float *at = scores + area(i, PANEL) + v * W;
            const F e = exp_inside(max(all(-87.0f), load(at) - most[v]));  // less than that is nothing beside 1
            store(at, e);
            sum[v] += e;
        }
    for (int v = 0; v < TILE_VECTORS; v++) {
        store(softmax.peak(slot, chunk) + v * W, most[v]);
        store(softmax.sum(slot, chunk) + v * W, sum[v]);
    }
}

// A panel's tokens as columns (R, PANEL); those that are missing are 0.
void pack_tokens(const Loss &l, int panel, float *columns) {
    for (int v = 0; v < TILE_VECTORS; v++) {
        const int first = panel * PANEL + v * W, n = std::clamp(l.N - first, 0, W);
        const float *x = l.x + (n ? area(first, l.R) : 0);
        pack_columns({x, 1, l.R, n}, l.R, columns + v * W, PANEL);
    }
}

// The tokens' rows, cut into blocks of PANEL columns: (blocks, PANEL, PANEL).
void pack_rows(const Loss &l, int panel, float *rows) {
    for (int block = 0; block < l.R; block += PANEL) {
        const int step = l.vectors_of(block) * W;
        for (int i = 0; i < PANEL; i++)
            for (int v = 0; v < l.vectors_of(block); v++) {
                const int column = block + v * W;
                const bool there = i < l.tokens_in(panel);
                const F x = there ? load(l.x + area(panel * PANEL + i, l.R) + column, std::min(W, l.R - column)) : F{};
                store(rows + area(block / PANEL, PANEL) * PANEL + i * step + v * W, x);
            }
    }
}

// What the scores of a panel are divided by, in parts: the largest of all, and scale / sum (0 where there is no token).
struct Normaliser {
    float peak[PANEL], factor[PANEL];
};

// The gradient of a chunk's scores, from their exponentials: scale * (probability - 1 at the target). It has a place of
// its own, which stays in the cache where the scores would go back to memory.
void differentiate(const Loss &l, const Share &s, int panel, int slot, int chunk, Softmax &softmax, const Normaliser &by) {
    const float *scores = s.scores_of(slot, chunk);
    const int words = l.words_of(chunk);
    F factor[TILE_VECTORS];
    for (int v = 0; v < TILE_VECTORS; v++)
        factor[v] = exp(load(softmax.peak(slot, chunk) + v * W) - load(by.peak + v * W)) * load(by.factor + v * W);
    for (int first = 0; first < words; first += W) {
        const int n = std::min(W, words - first);
        F sums[W] = {};  // of W words; as columns they add up to the words' gradients of the bias
        for (int i = 0; i < n; i++)
            for (int v = 0; v < TILE_VECTORS; v++) {
                const size_t at = area(first + i, PANEL) + static_cast<size_t>(v * W);
                const F d = load(scores + at) * factor[v];
                store(s.d_scores + at, d);
                sums[i] += d;
            }
        transpose(sums);
        float *bias = s.d_bias + chunk * CHUNK + first;
        F total = load(bias, n);
        for (const F &part : sums) total += part;
        store(bias, total, n);
    }
    for (int i = 0; i < l.tokens_in(panel); i++) {
        const int64_t word = l.targets[panel * PANEL + i] - chunk * CHUNK;
        if (word < 0 || word >= words) continue;
        s.d_scores[area(static_cast<int>(word), PANEL) + static_cast<size_t>(i)] -= l.scale;
        s.d_bias[chunk * CHUNK + word] -= l.scale;
    }
}

// Adds to the gradients of weight and, as columns, tokens what a chunk brings for a panel.
void accumulate(const Loss &l, const Share &s, int slot, int chunk, float *d_columns) {
    const float *d_scores = s.d_scores, *rows = s.rows + area(slot, l.width()) * PANEL;
    const int words = l.words_of(chunk), first = chunk * CHUNK;
    product(l.R, TILE_VECTORS, words, l.weight + area(first, l.R), 1, l.R, d_scores, d_columns + area(slot, l.R) * PANEL, PANEL, true);
    for (int block = 0; block < l.R; block += PANEL) {
        const float *of = rows + area(block / PANEL, PANEL) * PANEL;
        float *d = s.d_weight + area(first, l.R) + block;
        const int vectors = l.vectors_of(block);
        if (block + vectors * W <= l.R) {
            product(words, vectors, PANEL, d_scores, PANEL, 1, of, d, l.R, true);
            continue;
        }
        product(words, vectors, PANEL, d_scores, PANEL, 1, of, s.tail, vectors * W, false);
        for (int i = 0; i < words; i++)
            for (int column = block; column < l.R; column += W) {
                const int n = std::min(W, l.R - column);
                float *at = s.d_weight + area(first + i, l.R) + column;
                store(at, load(at, n) + load(s.tail + i * vectors * W + (column - block)), n);
            }
    }
}

// Threads that see the same tokens, each its own words, and what they share.
struct Party {
    const Loss &l;
    int parties, slots;
    Softmax softmax[2];
    Barrier barrier;

    Party(const Loss &l, int parties, int slots)
        : l(l), parties(parties), slots(slots), softmax{{l.chunks(), slots}, {l.chunks(), slots}} {
        barrier.set(parties);
    }

    int groups() const { return (l.panels() + slots - 1) / slots; }

    // Every `of`th group from the `nth` on. The gradient of a group's tokens is put together while the next one goes on.
    void work(int rank, const std::vector<Share> &shares, int nth, int of) {
        const Share &mine = shares[static_cast<size_t>(rank)];
        int before = -1, turn = 0;
        for (int group = nth; group < groups(); group += of, turn ^= 1) {
            const int first = group * slots, count = std::min(slots, l.panels() - first);
            for (int slot = 0; slot < count; slot++) pack_tokens(l, first + slot, mine.columns + area(slot, l.R) * PANEL);
            for (int chunk = mine.chunk_begin; chunk < mine.chunk_end; chunk++)  // its weights are read once for all panels
                for (int slot = 0; slot < count; slot++) score(l, mine, first + slot, slot, chunk, softmax[turn]);
            barrier.wait();
            if (before >= 0 && l.gradient()) finish_tokens(rank, shares, before, turn ^ 1);
            learn(rank, mine, group == nth, first, count, turn);
            before = group;
        }
        barrier.wait();
        if (before >= 0 && l.gradient()) finish_tokens(rank, shares, before, turn ^ 1);
    }

  private:
    void learn(int rank, const Share &mine, bool begins, int first, int count, int turn) {
        Normaliser by[MOST_SLOTS];
        for (int slot = 0; slot < count; slot++) by[slot] = normalise(rank, first + slot, slot, softmax[turn]);
        if (!l.gradient()) return;
        float *d_columns = mine.d_columns[turn];
        std::fill_n(d_columns, area(count * l.R, PANEL), 0.0f);
        for (int slot = 0; slot < count; slot++) pack_rows(l, first + slot, mine.rows + area(slot, l.width()) * PANEL);
        for (int chunk = mine.chunk_begin; chunk < mine.chunk_end; chunk++) {
            if (begins) {
                std::fill_n(mine.d_weight + area(chunk * CHUNK, l.R), area(l.words_of(chunk), l.R), 0.0f);
                std::fill_n(mine.d_bias + chunk * CHUNK, l.words_of(chunk), 0.0f);
            }
            for (int slot = 0; slot < count; slot++) {
                differentiate(l, mine, first + slot, slot, chunk, softmax[turn], by[slot]);
                accumulate(l, mine, slot, chunk, d_columns);
            }
        }
    }

    // The chunks' parts together, in their order: they do not depend on who computed which.
    Normaliser normalise(int rank, int panel, int slot, Softmax &s) const {
        Normaliser by;
        for (int i = 0; i < PANEL; i++) {
            float peak = s.peak(slot, 0)[i];
            for (int chunk = 1; chunk < l.chunks(); chunk++) peak = std::max(peak, s.peak(slot, chunk)[i]);
            double total = 0.0;
            for (int chunk = 0; chunk < l.chunks(); chunk++)
                total += static_cast<double>(s.sum(slot, chunk)[i]) * std::exp(static_cast<double>(s.peak(slot, chunk)[i] - peak));
            const bool there = i < l.tokens_in(panel);
            by.peak[i] = peak;
            by.factor[i] = there ? static_cast<float>(static_cast<double>(l.scale) / total) : 0.0f;
            if (rank == 0 && there) l.nats[panel * PANEL + i] = static_cast<float>(std::log(total) + static_cast<double>(peak - s.target(slot)[i]));
        }
        return by;
    }

    // The gradient of a group's tokens: the sum of what every thread's words bring.
    void finish_tokens(int rank, const std::vector<Share> &shares, int group, int turn) const {
        const int first = group * slots, count = std::min(slots, l.panels() - first);
        float *rows = shares[static_cast<size_t>(rank)].transposed;
        for (int slot = rank; slot < count; slot += parties)
            for (int other = 0; other < parties; other++) {
                const float *columns = shares[static_cast<size_t>(other)].d_columns[turn] + area(slot, l.R) * PANEL;
                for (int k = 0; k < l.R; k += W)
                    pack_columns({columns + area(k, PANEL), 1, PANEL, std::min(W, l.R - k)}, PANEL, rows + k, l.width());
                for (int i = 0; i < l.tokens_in(first + slot); i++) put(rows + area(i, l.width()), (first + slot) * PANEL + i, other == 0);
            }
    }

    void put(const float *row, int token, bool first_part) const {
        float *d = l.d_x + area(token, l.R);
        for (int k = 0; k < l.R; k++) d[k] = first_part ? row[k] : d[k] + row[k];
    }
};

size_t take(Share &s, float *memory, const Loss &l, int slots, bool own_gradient) {
    size_t used = 0;
    const auto next = [&](size_t floats) {
        float *at = memory ? memory + used : nullptr;
        used += (floats + 15) / 16 * 16;
        return at;
    };
    s.columns = next(area(slots * l.R, PANEL));
    s.rows = next(area(slots * l.width(), PANEL));
    s.scores = next(area(slots * (s.chunk_end - s.chunk_begin), CHUNK) * PANEL);
    s.d_scores = next(area(CHUNK, PANEL));
    for (float *&d : s.d_columns) d = next(area(slots * l.R, PANEL));
    s.tail = next(area(CHUNK, PANEL));
    s.transposed = next(area(PANEL, l.width()));
    if (own_gradient) {
        s.d_weight = next(area(l.V, l.R));
        s.d_bias = next(static_cast<size_t>(l.V));
    }
    return used;
}

}  // namespace

// A large vocabulary is shared out by words, which every thread sees all tokens with; of a small one each thread has
// all words and a gradient of its own, and they share out the tokens.
bool output(const ost_output &given, int threads) {
    const Loss l(given);
    Lease lease(threads);
    const bool by_tokens = area(l.V, l.R) * sizeof(float) <= PRIVATE_BYTES && l.panels() >= lease.threads();
    const int n = lease.threads(), parties = by_tokens ? 1 : n;
    const int slots = by_tokens ? 1 : MOST_SLOTS;
    std::vector<Share> shares(static_cast<size_t>(n));
    size_t floats = 0;
    for (int i = 0; i < n; i++) {
        Share &s = shares[static_cast<size_t>(i)];
        s.chunk_begin = by_tokens ? 0 : l.chunks() * i / n;
        s.chunk_end = by_tokens ? l.chunks() : l.chunks() * (i + 1) / n;
        s.d_weight = l.d_weight;
        s.d_bias = l.d_bias;
        floats += take(s, nullptr, l, slots, by_tokens);
    }
    float *memory = lease.memory(floats);
    if (!memory) return false;
    for (Share &s : shares) memory += take(s, memory, l, slots, by_tokens);
    std::vector<std::unique_ptr<Party>> party;
    for (int i = 0; i < (by_tokens ? n : 1); i++) party.push_back(std::make_unique<Party>(l, parties, slots));
    lease.run([&](int rank) {
        Share &mine = shares[static_cast<size_t>(rank)];
        by_tokens ? party[static_cast<size_t>(rank)]->work(0, {mine}, rank, n) : party[0]->work(rank, shares, 0, 1);
    });
    if (by_tokens && l.gradient()) {
        std::fill_n(l.d_weight, area(l.V, l.R), 0.0f);
        std::fill_n(l.d_bias, l.V, 0.0f);
        for (const Share &s : shares) {
            for (size_t i = 0; i < area(l.V, l.R); i++) l.d_weight[i] += s.d_weight[i];
            for (int i = 0; i < l.V; i++) l.d_bias[i] += s.d_bias[i];
        }
    }
    return true;
}

}  // namespace ost::OST_ISA
