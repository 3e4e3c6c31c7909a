// Choosing the next token from its scores: the distribution of decode/sampling.py, without sorting more than is kept.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "../../include/ostinato/core.h"
#include "functions.h"

namespace ost::OST_ISA {

// Sums are made of blocks of so many lanes, whatever the width of a vector, so that they have the same bits everywhere.
constexpr int LANES = 16;
constexpr int BLOCK = 16 * LANES;

// The sum of up to BLOCK values.
inline double block_sum(const float *values, int n) {
    float lanes[LANES] = {};
    for (int i = 0; i < n; i += LANES)
        for (int j = 0; j < std::min(LANES, n - i); j++) lanes[j] += values[i + j];
    double sum = 0.0;
    for (const float lane : lanes) sum += static_cast<double>(lane);
    return sum;
}

inline double total(const float *values, int n) {
    double sum = 0.0;
    for (int i = 0; i < n; i += BLOCK) sum += block_sum(values + i, std::min(BLOCK, n - i));
    return sum;
}

inline float largest(const float *values, int n) {
    F most = all(-std::numeric_limits<float>::infinity());
    int i = 0;
    for (; i + W <= n; i += W) most = max(most, load(values + i));
    float result = -std::numeric_limits<float>::infinity();
    for (int j = 0; j < W; j++) result = std::max(result, most[j]);
    for (; i < n; i++) result = std::max(result, values[i]);
    return result;
}

// weights[i] = e^((scores[i] - shift) * factor)
inline void exponentials(const float *scores, int n, float shift, float factor, float *weights) {
    for (int i = 0; i < n; i += W) {
        const int some = std::min(W, n - i);
        store(weights + i, exp((load(scores + i, some) - shift) * factor), some);
    }
}

// Leaves the weights of the top_k largest, and of these of the smallest set that holds top_p of their sum, and makes
// the rest 0. Of equal ones the first comes first.
inline void keep_likeliest(float *weights, int n, int top_k, double top_p) {
    std::vector<int> order(static_cast<size_t>(n));
    for (int i = 0; i < n; i++) order[static_cast<size_t>(i)] = i;
    const auto after = [weights](int a, int b) { return weights[a] < weights[b] || (weights[a] == weights[b] && a > b); };
    std::make_heap(order.begin(), order.end(), after);
    auto end = order.end();
    const auto take = [&] {
        std::pop_heap(order.begin(), end, after);
        return *--end;
    };
    std::vector<std::pair<int, float>> kept;
    const int most = top_k > 0 ? std::min(top_k, n) : n;
    double mass = 0.0;
    if (top_p >= 1.0 || most < n) {
        for (int i = 0; i < most; i++) {
            const int id = take();
            kept.emplace_back(id, weights[id]);
            mass += static_cast<double>(weights[id]);
        }
    } else {
        mass = total(weights, n);
    }
    if (top_p < 1.0) {
        double before = 0.0;
        size_t count = 0;
        while (count < static_cast<size_t>(most) && before < top_p * mass) {
            if (count == kept.size()) {
                const int id = take();
                kept.emplace_back(id, weights[id]);
            }
            before += static_cast<double>(kept[count++].second);
        }
        kept.resize(count);
    }
    std::fill(weights, weights + n, 0.0f);
    for (const auto &[id, weight] : kept) weights[id] = weight;
}

// The first id whose weights up to itself exceed this share of all.
inline int draw(const float *weights, int n, double uniform) {
    double left = uniform * total(weights, n);
    int begin = 0;
    for (; begin + BLOCK < n; begin += BLOCK) {
        const double sum = block_sum(weights + begin, BLOCK);
        if (left < sum) break;
        left -= sum;
    }
    int last = begin;
    for (int i = begin; i < n; i++) {
        if (weights[i] <= 0.0f) continue;
        last = i;
        left -= static_cast<double>(weights[i]);
        if (left < 0.0) return i;
    }
    if (weights[last] > 0.0f) return last;  // rounding: the sum was a little less than its parts
    for (last = n - 1; last > 0 && weights[last] <= 0.0f; last--) {
    }
    return last;
}

// Draws a token by the scores of one stream, which lose those of banned tokens; gives its log-probability under the
// model's own distribution. `weights` is scratch.
inline int sample(const ost_writing &how, int V, float *scores, float *weights, double uniform, float &logprob) {
    const float peak = largest(scores, V);
    exponentials(scores, V, peak, 1.0f, weights);
    const double all_of = total(weights, V);
    const auto logprob_of = [&](float score) { return static_cast<float>(static_cast<double>(score - peak) - std::log(all_of)); };
    for (int i = 0; i < how.banned; i++) scores[how.bans[i]] = -std::numeric_limits<float>::infinity();
    int id;
    if (how.temperature == 0.0) {
        id = static_cast<int>(std::max_element(scores, scores + V) - scores);
    } else {
        const float shift = how.banned ? largest(scores, V) : peak;
        if (how.banned || how.temperature != 1.0)
            exponentials(scores, V, shift, static_cast<float>(1.0 / how.temperature), weights);
        if (how.top_k > 0 || how.top_p < 1.0) keep_likeliest(weights, V, how.top_k, how.top_p);
        if (how.min_p > 0.0)  // the likeliest has weight 1
            for (int i = 0; i < V; i++)
                if (static_cast<double>(weights[i]) < how.min_p) weights[i] = 0.0f;
        id = draw(weights, V, uniform);
    }
    logprob = logprob_of(scores[id]);
    return id;
}

}  // namespace ost::OST_ISA
