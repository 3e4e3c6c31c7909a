// Every kernel on every instruction set, with awkward sizes and several threads, in buffers of exactly the size that
// core.h asks for: for the sanitizers, and to hold all of them to the same bits. What the numbers should be, the tests
// in Python say.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
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

constexpr int INPUTS = 9, ROWS = 5;

// All arrays of a layer, and what is left in them after a forward and a backward pass.
struct Problem {
    int cell;
    Size size;
    bool ragged, held;
    Floats x, weight_ih, bias, weight_hh, bias_hn, weight_ci, weight_cf, weight_co, keep_h, keep_c, gates, h, c, extra;
    Floats d_outputs, d_h, d_c, d_x, d_weight_ih, d_bias, d_weight_hh, d_bias_hn, d_weight_ci, d_weight_cf, d_weight_co;
    Floats table;
    std::vector<int32_t> lengths, index;

    Problem(int cell, Size size, bool ragged, bool held) : cell(cell), size(size), ragged(ragged), held(held) {
        const auto [T, B, H] = size;
        const size_t G = cell <= OST_RNN_ELU ? 1 : (cell <= OST_GRU_RESET_AFTER ? 3 : 4);
        const size_t units = static_cast<size_t>(H), state = static_cast<size_t>(B) * units;
        const size_t sequence = static_cast<size_t>(T) * state;
        const size_t inputs = INPUTS, N = static_cast<size_t>(T) * static_cast<size_t>(B);
        Random random;
        if (ragged)  // as good a half of the cases as any
            for (size_t n = 0; n < N; n++) index.push_back(static_cast<int32_t>(n * n % ROWS));
        const size_t rows = ragged ? ROWS : N;
        x = random.floats(rows * inputs);
        table = Floats(rows * G * units);
        weight_ih = random.floats(G * units * inputs, 0.3f);
        bias = random.floats(G * units);
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
        gates = Floats(G * sequence);
        h = random.floats(sequence + state);
        c = random.floats(sequence + state);
        extra = Floats(sequence);
        d_outputs = random.floats(sequence);
        d_h = random.floats(state);
        d_c = random.floats(state);
        d_x = Floats(x.size());
        d_weight_ih = Floats(weight_ih.size());
        d_bias = Floats(bias.size());
        d_weight_hh = Floats(weight_hh.size());
        d_bias_hn = Floats(bias_hn.size());
        d_weight_ci = d_weight_cf = d_weight_co = Floats(seen);
        for (int row = 0; row < B; row++) lengths.push_back(1 + row % T);
    }

    ost_layer layer() {
        ost_layer l{};
        l.cell = cell;
        l.T = size.T;
        l.B = size.B;
        l.I = INPUTS;
        l.H = size.H;
        l.reversed = held;
        l.x = x.data();
        l.index = ragged ? index.data() : nullptr;
        l.rows = ROWS;
        l.table = table.data();
        l.weight_ih = weight_ih.data();
        l.bias = bias.data();
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
        l.d_x = cell % 4 == 3 ? nullptr : d_x.data();
        l.d_weight_ih = d_weight_ih.data();
        l.d_bias = d_bias.data();
        l.d_weight_hh = d_weight_hh.data();
        l.d_bias_hn = d_bias_hn.data();
        l.d_weight_ci = d_weight_ci.data();
        l.d_weight_cf = d_weight_cf.data();
        l.d_weight_co = d_weight_co.data();
        return l;
    }

    Floats results() const {
        Floats all;
        for (const Floats *part : {&gates, &h, &c, &extra, &d_h, &d_c, &d_x, &d_weight_ih, &d_bias, &d_weight_hh, &d_bias_hn, &d_weight_ci, &d_weight_cf, &d_weight_co}) all.insert(all.end(), part->begin(), part->end());
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

Floats cross_entropy(int N, int V, int R, int threads) {
    Random random;
    const auto size = [](int rows, int columns) { return static_cast<size_t>(rows) * static_cast<size_t>(columns); };
    const Floats x = random.floats(size(N, R)), weight = random.floats(size(V, R)), bias = random.floats(static_cast<size_t>(V));
    Floats nats(static_cast<size_t>(N)), d_x(size(N, R)), d_weight(size(V, R)), d_bias(static_cast<size_t>(V));
    std::vector<int64_t> targets;
    for (int i = 0; i < N; i++) targets.push_back((V - 1 + i * 7) % V);
    ost_output o{};
    o.N = N;
    o.V = V;
    o.R = R;
    o.x = x.data();
    o.weight = weight.data();
    o.bias = bias.data();
    o.targets = targets.data();
    o.nats = nats.data();
    o.scale = 0.5f;
    expect(ost_cross_entropy(&o, threads) == 0, "cross entropy");
    o.d_x = d_x.data();
    o.d_weight = d_weight.data();
    o.d_bias = d_bias.data();
    const Floats alone = nats;
    expect(ost_cross_entropy(&o, threads) == 0 && nats == alone, "cross entropy with gradients");
    return nats;
}

Floats updated(int64_t size, int threads) {
    Random random;
    const size_t n = static_cast<size_t>(size);
    Floats weights = random.floats(n), gradient = random.floats(n), first = random.floats(n), second(n, 0.1f), average = weights;
    const ost_tensor tensor{size, weights.data(), gradient.data(), first.data(), second.data(), average.data(), 0.1f};
    ost_update u{1, &tensor, 3, 0.1, 0.9, 0.99, 1e-8, 0.5, 0.4, 0.9, {}};
    expect(ost_step(&u, threads) == 0 && u.norms[0] > u.norms[1], "update");
    Floats all = weights;
    for (const Floats *part : {&first, &second, &average}) all.insert(all.end(), part->begin(), part->end());
    return all;
}

Floats dropped(int64_t size, int threads) {
    Random random;
    Floats x = random.floats(static_cast<size_t>(size)), y(x.size());
    const ost_dropping apart{size, x.data(), y.data(), 0.3, 0x123456789abcdefu}, in_place{size, x.data(), x.data(), 0.3, apart.seed};
    expect(ost_dropout(&apart, threads) == 0 && ost_dropout(&in_place, threads) == 0 && x == y, "dropout");
    return y;
}

// What two layers of a cell write, and their states.
Floats written(int cell, int V, int E, int H, bool int8, int B, int threads) {
    Random random;
    const auto size = [](int rows, int columns) { return static_cast<size_t>(rows) * static_cast<size_t>(columns); };
    const int G = cell <= OST_RNN_ELU ? 1 : (cell <= OST_GRU_RESET_AFTER ? 3 : 4);
    const Floats embedding = random.floats(size(V, E)), output = random.floats(size(V, 2 * H)), bias = random.floats(static_cast<size_t>(V));
    std::vector<Floats> kept;
    std::vector<ost_model_layer> layers;
    for (const int inputs : {E, H}) {
        ost_model_layer l{};
        l.cell = cell;
        l.I = inputs;
        l.H = H;
        const auto next = [&](size_t n) { return kept.emplace_back(random.floats(n, 0.3f)).data(); };
        kept.reserve(18);
        l.weight_ih = next(size(G * H, inputs));
        l.bias = next(size(G, H));
        l.weight_hh = next(size(G * H, H));
        l.bias_hn = next(size(1, H));
        const size_t seen = cell == OST_PEEPHOLE ? size(H, H) : size(1, H);
        l.weight_ci = next(seen);
        l.weight_cf = next(seen);
        l.weight_co = next(seen);
        l.norm_weight = next(size(1, H));
        l.norm_bias = next(size(1, H));
        layers.push_back(l);
    }
    const ost_model model{V, E, 2 * H, 2, layers.data(), embedding.data(), output.data(), bias.data(), 0.1f, 1, 1, int8};
    ost_engine *engine = ost_engine_new(&model, threads);
    expect(engine != nullptr, "an engine");
    const int S = ost_engine_state_width(engine), steps = 4;
    Floats states(size(B, S)), logits(size(B, V)), logprobs(size(steps, B)), history(size(steps * B, S));
    std::vector<int64_t> ids(static_cast<size_t>(B), V - 1), made(size(steps, B));
    const std::vector<double> uniforms(size(steps, B), 0.7);
    const std::vector<int32_t> bans{0, V - 1};
    const ost_reading reading{B, ids.data(), states.data(), logits.data()};
    expect(ost_engine_read(engine, &reading, threads) == 0, "read");
    const ost_writing writing{B, steps, states.data(), uniforms.data(), 0.8, 0.9, 0.01, V / 2, 2, bans.data(), made.data(), logprobs.data(), history.data()};
    expect(ost_engine_write(engine, &writing, threads) == 0, "write");
    ost_engine_free(engine);
    Floats all = logits;
    for (const Floats *part : {&states, &logprobs, &history}) all.insert(all.end(), part->begin(), part->end());
    for (const int64_t id : made) all.push_back(static_cast<float>(id));
    return all;
}

// What a beam of so many prefixes finds, in chunks of so many frames; fused, each new prefix gets numbers of its own.
Floats searched(int V, int width, double margin, bool fused, int chunk) {
    Random random;
    const int T = 60;
    std::vector<double> frames;
    for (int i = 0; i < T * V; i++) frames.push_back(i % 7 == 3 && i % V != 1 ? -INFINITY : 6.0 * random() - 6.0);
    const ost_ctc_options options{V, 1, width, margin};
    ost_ctc *beam = ost_ctc_new(&options);
    expect(beam != nullptr, "a beam");
    Floats all;
    int64_t longest = 0;
    for (int t = 0; t < T; t += chunk) {
        const int64_t some = std::min(chunk, T - t);
        expect(ost_ctc_advance(beam, some, frames.data() + static_cast<size_t>(t) * static_cast<size_t>(V)) == 0, "advance");
        if (!fused) continue;
        const size_t size = static_cast<size_t>(ost_ctc_size(beam, &longest));
        std::vector<int32_t> origins(size), labels(size), places;
        ost_ctc_came(beam, origins.data(), labels.data());
        for (size_t k = 0; k < size; k++)
            if (labels[k] >= 0) places.push_back(static_cast<int32_t>(k));
        std::vector<double> extras, gains;
        for (size_t n = 0; n < places.size(); n++) extras.push_back(random());
        for (size_t n = 0; n < places.size() * static_cast<size_t>(V); n++) gains.push_back(random());
        expect(ost_ctc_fuse(beam, static_cast<int32_t>(places.size()), places.data(), extras.data(), gains.data()) == 0, "fuse");
        for (const int32_t origin : origins) all.push_back(static_cast<float>(origin));
    }
    const size_t size = static_cast<size_t>(ost_ctc_size(beam, &longest)), most = static_cast<size_t>(longest);
    expect(size > 0 && size <= static_cast<size_t>(width), "the size of a beam");
    std::vector<double> logprobs(size);
    std::vector<int64_t> starts(most), ends(most);
    std::vector<int32_t> labels(most);
    ost_ctc_totals(beam, logprobs.data());
    for (size_t k = 0; k < size; k++) {
        all.push_back(static_cast<float>(logprobs[k]));
        const int64_t length = ost_ctc_read(beam, static_cast<int32_t>(k), labels.data(), starts.data(), ends.data());
        int64_t end = 0;
        for (size_t i = 0; i < static_cast<size_t>(length); i++) {
            expect(labels[i] >= 0 && labels[i] < V && starts[i] >= end && ends[i] > starts[i] && ends[i] <= T, "labels in order");
            end = ends[i];
            for (const int64_t number : {int64_t{labels[i]}, starts[i], end}) all.push_back(static_cast<float>(number));
        }
    }
    ost_ctc_free(beam);
    return all;
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
    for (const auto &[N, V, R] : {Size{1, 2, 1}, Size{70, 40, 33}, Size{130, 2500, 70}}) take(cross_entropy(N, V, R, threads));
    for (const int64_t size : {1, 100, 40001}) take(updated(size, threads));
    for (const int64_t size : {1, 100, 40001}) take(dropped(size, threads));
    for (int cell = OST_RNN_TANH; cell <= OST_PEEPHOLE_DIAGONAL; cell++)
        for (const bool int8 : {false, true})
            for (const int B : {1, 7}) take(written(cell, 37, 21, 33, int8, B, threads));
    for (const int width : {1, 2, 33})
        for (const double margin : {static_cast<double>(INFINITY), 5.0}) {
            const Floats whole = searched(9, width, margin, false, 60);
            for (const int chunk : {1, 7}) expect(searched(9, width, margin, false, chunk) == whole, "chunks of frames");
            take(whole);
            take(searched(9, width, margin, true, 1));
        }
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

// With the name of a file the numbers are written there, to be compared with another machine's.
int main(int argc, char **argv) {
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
    if (argc > 1) {
        const auto bytes = static_cast<std::streamsize>(expected.size() * sizeof(float));
        expect(std::ofstream(argv[1], std::ios::binary).write(reinterpret_cast<const char *>(expected.data()), bytes).good(), "writing");
    }
    std::printf("%zu numbers with %s: ", expected.size(), ost_isas());
    std::printf(failures ? "%d failures\n" : "all passed\n", failures);
    return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
