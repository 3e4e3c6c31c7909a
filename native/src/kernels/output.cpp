// The output layer with its loss: linear, softmax and cross entropy, forward and backward, without ever holding the
// scores of all tokens.
//
// Scores are made the other way round, a row for each word of the vocabulary and a column for each token: so the weight
// is read as it lies, and every product of forward and backward pass finds its panel ready. The softmax is not divided
// out: what it would be divided by scales the tokens' rows instead.

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
constexpr size_t SCORES = 4 << 20;            // scores in a group of tokens, about
constexpr size_t PRIVATE_BYTES = 512 * 1024;  // up to here each thread has a gradient of the weight of its own

size_t area(int rows, int columns) { return static_cast<size_t>(rows) * static_cast<size_t>(columns); }

int round_up(int n, int to) { return (n + to - 1) / to * to; }

struct Loss : ost_output {
    explicit Loss(const ost_output &o) : ost_output(o) {}

    bool gradient() const { return d_x != nullptr; }
    int panels() const { return (N + PANEL - 1) / PANEL; }
    int width() const { return round_up(R, PANEL); }
    int vectors_of(int block) const { return std::min(TILE_VECTORS, (R - block + W - 1) / W); }
    int tokens_in(int panel) const { return std::min(PANEL, N - panel * PANEL); }
};

// What one thread works with; `slot` is the place of a panel in its group.
struct Share {
    int word_begin, word_end;
    float *d_weight, *d_bias;  // where its part of the gradient is added, by word
    float *columns;            // (slots, R, PANEL): the group's tokens, as columns
    float *rows;               // (slots, R / PANEL, PANEL, PANEL): as rows, scaled
    float *scores;             // (slots, words, PANEL)
    float *d_columns[2];       // (slots, R, PANEL), of this group and of the one before
    float *tail;               // (CHUNK, PANEL)
    float *transposed;         // (PANEL, width)
};

// By token of a group: for each thread the largest of its scores and the sum of their exponentials; the target's score.
struct Softmax {
    std::vector<float> peaks, sums, targets;

    Softmax(int parties, int tokens) : peaks(area(parties, tokens)), sums(area(parties, tokens)), targets(static_cast<size_t>(tokens)), tokens_(tokens) {}
    float *peak(int rank, int slot) { return peaks.data() + area(rank, tokens_) + area(slot, PANEL); }
    float *sum(int rank, int slot) { return sums.data() + area(rank, tokens_) + area(slot, PANEL); }
    float *target(int slot) { return targets.data() + area(slot, PANEL); }

  private:
    int tokens_;
};

// Scores of a share's words for a panel of tokens, and their largest by token.
void score(const Loss &l, const Share &s, int panel, int slot, float *peak, float *target_scores) {
    const float *columns = s.columns + area(slot, l.R) * PANEL;
    float *scores = s.scores + area(slot, s.word_end - s.word_begin) * PANEL;
    F most[TILE_VECTORS];
    for (F &m : most) m = all(-std::numeric_limits<float>::infinity());
    for (int word = s.word_begin; word < s.word_end; word += CHUNK) {
        const int words = std::min(CHUNK, s.word_end - word);
        float *chunk = scores + area(word - s.word_begin, PANEL);
        product(words, TILE_VECTORS, l.R, l.weight + area(word, l.R), l.R, 1, columns, chunk, PANEL, false);
        for (int i = 0; i < words; i++) {
            const F offset = all(l.bias ? l.bias[word + i] : 0.0f);
            for (int v = 0; v < TILE_VECTORS; v++) {
                const F value = load(chunk + area(i, PANEL) + v * W) + offset;
                store(chunk + area(i, PANEL) + v * W, value);
                most[v] = max(most[v], value);
            }
        }
    }
    for (int v = 0; v < TILE_VECTORS; v++) store(peak + v * W, most[v]);
    for (int i = 0; i < l.tokens_in(panel); i++) {
        const int64_t target = l.targets[panel * PANEL + i];
        if (target >= s.word_begin && target < s.word_end)
            target_scores[i] = scores[area(static_cast<int>(target) - s.word_begin, PANEL) + static_cast<size_t>(i)];
    }
}

// Scores become e^(score - peak); their sum by token.
void exponentiate(const Share &s, int slot, const float *peak, float *sum) {
    float *scores = s.scores + area(slot, s.word_end - s.word_begin) * PANEL;
    F total[TILE_VECTORS] = {}, shift[TILE_VECTORS];
    for (int v = 0; v < TILE_VECTORS; v++) shift[v] = load(peak + v * W);
    for (int i = 0; i < s.word_end - s.word_begin; i++)
        for (int v = 0; v < TILE_VECTORS; v++) {
            float *at = scores + area(i, PANEL) + v * W;
            const F e = exp(load(at) - shift[v]);
            store(at, e);
            total[v] += e;
        }
    for (int v = 0; v < TILE_VECTORS; v++) store(sum + v * W, total[v]);
}

// A panel's tokens as columns (R, PANEL); those that are missing are 0.
void pack_tokens(const Loss &l, int panel, float *columns) {
    for (int v = 0; v < TILE_VECTORS; v++) {
        const int first = panel * PANEL + v * W, n = std::clamp(l.N - first, 0, W);
        const float *x = l.x + (n ? area(first, l.R) : 0);
        pack_columns({x, 1, l.R, n}, l.R, columns + v * W, PANEL);
    }
}

// The tokens' rows times `factors`, cut into blocks of PANEL columns: (blocks, PANEL, PANEL).
void scale_rows(const Loss &l, int panel, const float *factors, float *rows) {
    for (int block = 0; block < l.R; block += PANEL) {
        const int step = l.vectors_of(block) * W;
        for (int i = 0; i < PANEL; i++)
            for (int v = 0; v < l.vectors_of(block); v++) {
                const int column = block + v * W;
                const bool there = i < l.tokens_in(panel);
                const F x = there ? load(l.x + area(panel * PANEL + i, l.R) + column, std::min(W, l.R - column)) : F{};
                store(rows + area(block / PANEL, PANEL) * PANEL + i * step + v * W, x * all(factors[i]));
            }
    }
}

// Adds to the gradients of weight, bias and, as columns, tokens what a panel of exponentials brings.
void accumulate(const Loss &l, const Share &s, int slot, const float *factors, float *d_all_columns) {
    const float *scores = s.scores + area(slot, s.word_end - s.word_begin) * PANEL;
    const float *rows = s.rows + area(slot, l.width()) * PANEL;
    float *d_columns = d_all_columns + area(slot, l.R) * PANEL;
    F factor[TILE_VECTORS];
    for (int v = 0; v < TILE_VECTORS; v++) factor[v] = load(factors + v * W);
    for (int word = s.word_begin; word < s.word_end; word += CHUNK) {
        const int words = std::min(CHUNK, s.word_end - word);
        const float *chunk = scores + area(word - s.word_begin, PANEL);
        product(l.R, TILE_VECTORS, words, l.weight + area(word, l.R), 1, l.R, chunk, d_columns, PANEL, true);
        for (int block = 0; block < l.R; block += PANEL) {
            const float *of = rows + area(block / PANEL, PANEL) * PANEL;
            float *d = s.d_weight + area(word, l.R) + block;
            const int vectors = l.vectors_of(block);
            if (block + vectors * W <= l.R) {
                product(words, vectors, PANEL, chunk, PANEL, 1, of, d, l.R, true);
                continue;
            }
            product(words, vectors, PANEL, chunk, PANEL, 1, of, s.tail, vectors * W, false);
            for (int i = 0; i < words; i++)
                for (int column = block; column < l.R; column += W) {
                    const int n = std::min(W, l.R - column);
                    float *at = s.d_weight + area(word + i, l.R) + column;
                    store(at, load(at, n) + load(s.tail + i * vectors * W + (column - block)), n);
                }
        }
        for (int i = 0; i < words; i++) {
            F sum{};
            for (int v = 0; v < TILE_VECTORS; v++) sum = fma(load(chunk + area(i, PANEL) + v * W), factor[v], sum);
            for (int j = 0; j < W; j++) s.d_bias[word + i] += sum[j];
        }
    }
}

// What the target itself takes away: the gradient of a token's loss has -1 at it.
void subtract_targets(const Loss &l, const Share &s, int panel) {
    for (int i = 0; i < l.tokens_in(panel); i++) {
        const int token = panel * PANEL + i;
        const int64_t target = l.targets[token];
        if (target < s.word_begin || target >= s.word_end) continue;
        float *d = s.d_weight + area(static_cast<int>(target), l.R);
        const float *x = l.x + area(token, l.R);
        for (int k = 0; k < l.R; k++) d[k] -= l.scale * x[k];
        s.d_bias[target] -= l.scale;
    }
}

// Threads that see the same tokens, each its own words, and what they share.
struct Party {
    const Loss &l;
    int parties, slots;
    Softmax softmax[2];
    Barrier barrier;

    Party(const Loss &l, int parties, int slots)
        : l(l), parties(parties), slots(slots), softmax{{parties, slots * PANEL}, {parties, slots * PANEL}} {
        barrier.set(parties);
    }

    int groups() const { return (l.panels() + slots - 1) / slots; }

    // Every `of`th group from the `nth` on. The gradient of a group's tokens is put together while the next one goes on.
    void work(int rank, const std::vector<Share> &shares, int nth, int of) {
        const Share &mine = shares[static_cast<size_t>(rank)];
        int before = -1, turn = 0;
        for (int group = nth; group < groups(); group += of, turn ^= 1) {
            const int first = group * slots, count = std::min(slots, l.panels() - first);
            for (int slot = 0; slot < count; slot++) {
                pack_tokens(l, first + slot, mine.columns + area(slot, l.R) * PANEL);
                score(l, mine, first + slot, slot, softmax[turn].peak(rank, slot), softmax[turn].target(slot));
                exponentiate(mine, slot, softmax[turn].peak(rank, slot), softmax[turn].sum(rank, slot));
            }
            barrier.wait();
            if (before >= 0 && l.gradient()) finish_tokens(rank, shares, before, turn ^ 1);
            for (int slot = 0; slot < count; slot++) learn(rank, mine, first + slot, slot, turn);
            before = group;
        }
        barrier.wait();
        if (before >= 0 && l.gradient()) finish_tokens(rank, shares, before, turn ^ 1);
    }

  private:
    void learn(int rank, const Share &mine, int panel, int slot, int turn) {
        float factors[PANEL];
        Softmax &s = softmax[turn];
        for (int i = 0; i < PANEL; i++) {
            float peak = s.peak(0, slot)[i];
            for (int other = 1; other < parties; other++) peak = std::max(peak, s.peak(other, slot)[i]);
            double total = 0.0;
            for (int other = 0; other < parties; other++)
                total += static_cast<double>(s.sum(other, slot)[i]) * std::exp(static_cast<double>(s.peak(other, slot)[i] - peak));
            const bool there = i < l.tokens_in(panel);
            factors[i] = there ? l.scale * static_cast<float>(std::exp(static_cast<double>(s.peak(rank, slot)[i] - peak)) / total) : 0.0f;
            if (rank == 0 && there) l.nats[panel * PANEL + i] = static_cast<float>(std::log(total) + static_cast<double>(peak - s.target(slot)[i]));
        }
        if (!l.gradient()) return;
        scale_rows(l, panel, factors, mine.rows + area(slot, l.width()) * PANEL);
        float *d_columns = mine.d_columns[turn];
        std::fill_n(d_columns + area(slot, l.R) * PANEL, area(l.R, PANEL), 0.0f);
        accumulate(l, mine, slot, factors, d_columns);
        for (int k = 0; k < l.R; k++)
            for (int v = 0; v < TILE_VECTORS; v++) {
                float *at = d_columns + (area(slot, l.R) + static_cast<size_t>(k)) * PANEL + v * W;
                store(at, load(at) * load(factors + v * W));
            }
        subtract_targets(l, mine, panel);
    }

    // The gradient of a group's tokens: the sum of what every thread's words bring, less the target's row.
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
        const float *weight = l.weight + area(static_cast<int>(l.targets[token]), l.R);
        for (int k = 0; k < l.R; k++) d[k] = row[k] + (first_part ? -l.scale * weight[k] : d[k]);
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
    s.scores = next(area(slots * (s.word_end - s.word_begin), PANEL));
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
    const int slots = by_tokens ? 1 : std::clamp(static_cast<int>(SCORES / area(l.V, PANEL)), 1, 4);
    std::vector<Share> shares(static_cast<size_t>(n));
    size_t floats = 0;
    for (int i = 0; i < n; i++) {
        Share &s = shares[static_cast<size_t>(i)];
        s.word_begin = by_tokens ? 0 : static_cast<int>(1LL * l.V * i / n);
        s.word_end = by_tokens ? l.V : static_cast<int>(1LL * l.V * (i + 1) / n);
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
        if (by_tokens) {
            std::fill_n(mine.d_weight, area(l.V, l.R), 0.0f);
            std::fill_n(mine.d_bias, l.V, 0.0f);
            party[static_cast<size_t>(rank)]->work(0, {mine}, rank, n);
        } else {
            party[0]->work(rank, shares, 0, 1);
        }
    });
    if (by_tokens && l.gradient())
        for (const Share &s : shares) {
            for (size_t i = 0; i < area(l.V, l.R); i++) l.d_weight[i] += s.d_weight[i];
            for (int i = 0; i < l.V; i++) l.d_bias[i] += s.d_bias[i];
        }
    return true;
}

}  // namespace ost::OST_ISA
