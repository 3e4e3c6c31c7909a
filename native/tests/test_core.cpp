// Every kernel on every instruction set, with awkward sizes and several threads, in buffers of exactly the size that
// core.h asks for: for the sanitizers, and to hold all of them to the same bits. What the numbers should be, the tests
// in Python say.

#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "../include/ostinato/core.h"

namespace {

using Floats = std::vector<float>;

int failures = 0;

void expect(bool holds, const std::string &what) {
    if (holds) return;
    std::printf("FAILED: %s\n", what.c_str());
    failures++;
}

// A fixed sequence, about uniform from -1 to 1.
struct Random {
    unsigned state = 1;
    float operator()() {
        state = state * 1664525u + 1013904223u;
        return static_cast<float>(static_cast<int>(state) / 2147483648.0);
    }
    Floats floats(size_t n, float scale = 1.0f) {
        Floats values(n);
        for (float &v : values) v = scale * (*this)();
        return values;
    }
};

struct Size {
    int T, B, H;
};

// All arrays of a layer, and what is left in them after a forward and a backward pass.
struct Problem {
    int cell;
    Size size;
    bool ragged, held;
    Floats weight_hh, bias_hn, weight_ci, weight_cf, weight_co, keep_h, keep_c, gates, h, c, extra, d_outputs, d_h, d_c, d_gates, d_extra;
    std::vector<int32_t> lengths;

    Problem(int cell, Size size, bool ragged, bool held) : cell(cell), size(size), ragged(ragged), held(held) {
        const auto [T, B, H] = size;
        const size_t G = cell <= OST_RNN_ELU ? 1 : (cell <= OST_GRU_RESET_AFTER ? 3 : 4);
        const size_t units = static_cast<size_t>(H), state = static_cast<size_t>(B) * units;
        const size_t sequence = static_cast<size_t>(T) * state;
        Random random;
        weight_hh = random.floats(G * units * units, 0.3f);
        bias_hn = random.floats(units);
        const size_t seen = cell == OST_PEEPHOLE ? units * units : units;
        weight_ci = random.floats(seen, 0.3f);
        weight_cf = random.floats(seen, 0.3f);
        weight_co = random.floats(seen, 0.3f);
        keep_h = random.floats(sequence);
        keep_c = random.floats(sequence);
        for (float &k : keep_h) k = k * k;
        for (float &k : keep_c) k = k > 0 ? 1.0f : 0.0f;
        gates = random.floats(G * sequence);
        h = random.floats(sequence + state);
        c = random.floats(sequence + state);
        extra = Floats(sequence);
        d_outputs = random.floats(sequence);
        d_h = random.floats(state);
        d_c = random.floats(state);
        d_gates = Floats(G * sequence);
        d_extra = Floats(sequence);
        for (int row = 0; row < B; row++) lengths.push_back(1 + row % T);
    }

    ost_layer layer() {
        ost_layer l{};
        l.cell = cell;
        l.T = size.T;
        l.B = size.B;
        l.H = size.H;
        l.weight_hh = weight_hh.data();
        l.bias_hn = bias_hn.data();
        l.weight_ci = weight_ci.data();
        l.weight_cf = weight_cf.data();
        l.weight_co = weight_co.data();
        l.lengths = ragged ? lengths.data() : nullptr;
        l.keep_h = held ? keep_h.data() : nullptr;
        l.keep_c = held ? keep_c.data() : nullptr;
        l.gates = gates.data();
        l.h = h.data();
        l.c = c.data();
        l.extra = extra.data();
        l.d_outputs = d_outputs.data();
        l.d_h = d_h.data();
        l.d_c = d_c.data();
        l.d_gates = d_gates.data();
        l.d_extra = d_extra.data();
        return l;
    }

    Floats results() const {
        Floats all;
        for (const Floats *part : {&gates, &h, &c, &d_h, &d_c, &d_gates}) all.insert(all.end(), part->begin(), part->end());
        return all;
    }
};

Floats run(int cell, Size size, bool ragged, bool held, int threads, int count) {
    std::vector<Problem> problems(static_cast<size_t>(count), Problem(cell, size, ragged, held));
    std::vector<ost_layer> layers;
    for (Problem &p : problems) layers.push_back(p.layer());
    expect(ost_recurrent_forward(layers.data(), count, threads) == 0, "forward");
    expect(ost_recurrent_backward(layers.data(), count, threads) == 0, "backward");
    const Floats first = problems.front().results();
    for (const Problem &p : problems) expect(p.results() == first, "layers at once do not disturb each other");
    return first;
}

Floats multiply(int M, int N, int K, bool a_transposed, bool b_transposed, bool add, int threads) {
    Random random;
    const auto size = [](int rows, int columns) { return static_cast<size_t>(rows) * static_cast<size_t>(columns); };
    Floats a = random.floats(size(M, K)), b = random.floats(size(K, N)), c = random.floats(size(M, N));
    Floats bias = random.floats(static_cast<size_t>(N));
    ost_product p{};
    p.M = M;
    p.N = N;
    p.K = K;
    p.a = a.data();
    p.a_row = a_transposed ? 1 : K;
    p.a_k = a_transposed ? M : 1;
    p.b = b.data();
    p.b_k = b_transposed ? 1 : N;
    p.b_column = b_transposed ? K : 1;
    p.c = c.data();
    p.c_row = N;
    p.bias = bias.data();
    p.add = add;
    expect(ost_multiply(&p, threads) == 0, "multiply");
    return c;
}

Floats applied(int function) {
    Floats x, y;
    for (int i = -1001; i < 1001; i++) x.push_back(static_cast<float>(i) * 0.1f);
    y.resize(x.size());
    ost_apply(function, static_cast<int64_t>(x.size()), x.data(), y.data());
    return y;
}

// Everything, as this instruction set computes it with so many threads.
Floats everything(int threads) {
    Floats all;
    const auto take = [&](const Floats &some) { all.insert(all.end(), some.begin(), some.end()); };
    for (int cell = OST_RNN_TANH; cell <= OST_PEEPHOLE_DIAGONAL; cell++)
        for (const Size size : {Size{3, 1, 1}, Size{2, 7, 33}, Size{5, 13, 70}})
            for (const bool ragged : {false, true})
                for (const bool held : {false, true}) take(run(cell, size, ragged, held, threads, cell % 3 + 1));
    take(run(OST_LSTM, {2, 5, 260}, false, false, threads, 1));  // its weights are shared out among the threads
    for (const auto &[M, N, K] : {Size{1, 1, 1}, Size{7, 65, 33}, Size{201, 70, 520}, Size{2, 300, 40}})
        for (int way = 0; way < 8; way++) take(multiply(M, N, K, way & 1, way & 2, way & 4, threads));
    for (int function = OST_EXP; function <= OST_SIGMOID; function++) take(applied(function));
    return all;
}

void callers_at_once() {
    const Floats expected = run(OST_LSTM, {4, 6, 40}, false, false, 2, 1);
    std::vector<std::thread> callers;
    std::vector<Floats> results(4);
    for (Floats &result : results)
        callers.emplace_back([&result] {
            for (int i = 0; i < 20; i++) result = run(OST_LSTM, {4, 6, 40}, false, false, 2, 1);
        });
    for (std::thread &caller : callers) caller.join();
    for (const Floats &result : results) expect(result == expected, "callers at once");
}

}  // namespace

int main() {
    std::istringstream names(ost_isas());
    std::string name;
    Floats expected;
    while (names >> name) {
        expect(ost_use_isa(name.c_str()) == 0 && ost_isa() == name, "using " + name);
        for (const int threads : {1, 2, 3, 6}) {
            const Floats all = everything(threads);
            if (expected.empty()) expected = all;
            size_t different = 0;
            for (size_t i = 0; i < all.size(); i++) different += !(all[i] == expected[i]);
            expect(different == 0, name + " with " + std::to_string(threads) + " threads: " + std::to_string(different) +
                                       " of " + std::to_string(all.size()) + " numbers differ");
        }
    }
    expect(ost_use_isa("abacus") == -1, "an unknown instruction set");
    callers_at_once();
    std::printf(failures ? "%d failures\n" : "all passed\n", failures);
    return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
