// Prefix beam search: ctc/reference.py, to the same order of equal scores. Nothing here is worth a vector: of each prefix and
// label one addition, and few candidates live.

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "kernels.h"

namespace ost::OST_ISA {
namespace {

constexpr double NEVER = -std::numeric_limits<double>::infinity();
constexpr int32_t NONE = -1;

double add(double a, double b) {
    if (a < b) std::swap(a, b);
    return b == NEVER ? a : a + std::log1p(std::exp(b - a));
}

// Places that are used again. One lives while something counts on it: what keeps it alive is in `uses`.
template <class Item>
class Slots {
public:
    int32_t take(const Item &item) {
        if (free_.empty()) {
            items_.push_back(item);
            free_.reserve(items_.capacity());  // so that giving back needs no memory
            return static_cast<int32_t>(items_.size()) - 1;
        }
        const int32_t place = free_.back();
        free_.pop_back();
        items_[static_cast<size_t>(place)] = item;
        return place;
    }
    void give_back(int32_t place) { free_.push_back(place); }
    Item &operator[](int32_t place) { return items_[static_cast<size_t>(place)]; }
    const Item &operator[](int32_t place) const { return items_[static_cast<size_t>(place)]; }

private:
    std::vector<Item> items_;
    std::vector<int32_t> free_;
};

// A prefix, of the beam or on the way to one of the beam. A prefix that left the beam and comes again, while a longer one
// lives, must be the same node: what comes from it belongs to the longer one.
struct Node {
    int32_t label, parent, child, next;  // the first child, the next of the parent's children
    int32_t uses;                        // children, and one for a place in the beam
    int32_t place;                       // in the beam, or NONE
    int64_t depth;
};

// The frames of one label that is over, in the alignment of a prefix, and those before it.
struct Closed {
    int32_t before, uses;
    int64_t start, end;
};

// The frames of the last label of a prefix. Of the empty prefix: start is negative.
struct Open {
    int32_t before = NONE;
    int64_t start = -1, end = -1;
};

using Gains = std::shared_ptr<const std::vector<double>>;

// The four logarithms, by what the alignments end in: a blank or the label.
struct Prefix {
    int32_t node;
    double blank = NEVER, label = NEVER, best_blank = NEVER, best_label = NEVER;
    Open spans_blank, spans_label;
    double extra = 0.0;
    Gains gains;

    double total() const { return add(blank, label); }
    bool ends_in_blank() const { return best_blank >= best_label; }
};

struct Candidate {
    double score, logprob, extra;
    int32_t place, label;  // NONE: the prefix stays as it is

    // The order of the reference: better ones first, of equal ones those that stay, then by prefix and label.
    bool operator<(const Candidate &other) const {
        if (score != other.score) return score > other.score;
        if ((label == NONE) != (other.label == NONE)) return label == NONE;
        return place != other.place ? place < other.place : label < other.label;
    }
};

// The best candidates of a frame, in memory for twice as many.
class Best {
public:
    explicit Best(size_t most) : most_(most) { kept_.reserve(2 * most); }

    void offer(const Candidate &candidate) {
        if (candidate.score == NEVER || candidate.score < worst_) return;
        kept_.push_back(candidate);
        if (kept_.size() == 2 * most_) cut();
    }

    // In order.
    const std::vector<Candidate> &finish(double margin) {
        if (kept_.size() > most_) cut();
        std::sort(kept_.begin(), kept_.end());
        while (!kept_.empty() && kept_.back().score < kept_.front().score - margin) kept_.pop_back();
        return kept_;
    }

    void clear() {
        kept_.clear();
        worst_ = NEVER;
    }

private:
    void cut() {
        std::nth_element(kept_.begin(), kept_.begin() + static_cast<std::ptrdiff_t>(most_) - 1, kept_.end());
        kept_.resize(most_, Candidate{});
        worst_ = kept_.back().score;
    }

    size_t most_;
    double worst_ = NEVER;
    std::vector<Candidate> kept_;
};

class Beam final : public PrefixBeam {
public:
    explicit Beam(const ost_ctc_options &options)
        : V_(options.V), blank_(options.blank), margin_(options.margin), best_(static_cast<size_t>(options.width)),
          taken_(static_cast<size_t>(options.V), false) {
        Prefix empty{};
        empty.node = nodes_.take({NONE, NONE, NONE, NONE, 1, 0, 0});
        empty.blank = empty.best_blank = 0.0;
        beam_.push_back(std::move(empty));
        origins_.push_back(0);
        labels_.push_back(NONE);
    }

    void advance(int64_t T, const double *frames) override {
        for (int64_t t = 0; t < T; t++) step(frames + t * V_);
    }

    int32_t size(int64_t *longest) const override {
        *longest = 0;
        for (const Prefix &prefix : beam_) *longest = std::max(*longest, nodes_[prefix.node].depth);
        return static_cast<int32_t>(beam_.size());
    }

    void came(int32_t *origins, int32_t *labels) const override {
        std::copy(origins_.begin(), origins_.end(), origins);
        std::copy(labels_.begin(), labels_.end(), labels);
    }

    void fuse(int32_t N, const int32_t *places, const double *extras, const double *gains) override {
        std::vector<Gains> rows;
        for (int32_t n = 0; n < N; n++)
            rows.push_back(std::make_shared<const std::vector<double>>(gains + int64_t{n} * V_, gains + int64_t{n + 1} * V_));
        for (int32_t n = 0; n < N; n++) {
            Prefix &prefix = beam_[static_cast<size_t>(places[n])];
            prefix.extra = extras[n];
            prefix.gains = std::move(rows[static_cast<size_t>(n)]);
        }
    }

    void totals(double *logprobs) const override {
        for (const Prefix &prefix : beam_) *logprobs++ = prefix.total();
    }

    int64_t read(int32_t place, int32_t *labels, int64_t *starts, int64_t *ends) const override {
        const Prefix &prefix = beam_[static_cast<size_t>(place)];
        const int64_t depth = nodes_[prefix.node].depth;
        int64_t at = depth;
        Open spans = prefix.ends_in_blank() ? prefix.spans_blank : prefix.spans_label;
        for (int32_t node = prefix.node; nodes_[node].parent != NONE; node = nodes_[node].parent) {
            at--;
            labels[at] = nodes_[node].label;
            starts[at] = spans.start;
            ends[at] = spans.end;
            if (spans.before == NONE) continue;  // the first label
            const Closed &before = closed_[spans.before];
            spans = {before.before, before.start, before.end};
        }
        return depth;
    }

private:
    void step(const double *y) {
        live_.clear();
        for (int32_t v = 0; v < V_; v++)
            if (v != blank_ && y[v] > NEVER) live_.push_back(v);
        stay(y);
        best_.clear();
        for (size_t k = 0; k < stays_.size(); k++)
            best_.offer({stays_[k].total() + stays_[k].extra, 0.0, 0.0, static_cast<int32_t>(k), NONE});
        for (size_t k = 0; k < beam_.size(); k++) extend(k, y);
        keep(best_.finish(margin_), y);
        frame_++;
    }

    // The prefixes after a frame that adds no label to them, with what comes from those a label shorter.
    void stay(const double *y) {
        stays_.clear();
        for (const Prefix &prefix : beam_) {
            const int32_t label = nodes_[prefix.node].label;
            const double again = label == NONE ? NEVER : y[label];
            Prefix stays = prefix;
            stays.blank = prefix.total() + y[blank_];
            stays.label = prefix.label + again;
            stays.best_blank = std::max(prefix.best_blank, prefix.best_label) + y[blank_];
            stays.best_label = prefix.best_label + again;
            stays.spans_blank = prefix.ends_in_blank() ? prefix.spans_blank : prefix.spans_label;
            stays.spans_label.end = frame_ + 1;
            stays_.push_back(std::move(stays));
        }
        extended_.assign(beam_.size(), NONE);
        next_.assign(beam_.size(), NONE);
        merged_.assign(beam_.size(), false);
        for (size_t k = 0; k < beam_.size(); k++) {
            const Node &node = nodes_[beam_[k].node];
            const int32_t shorter = node.parent == NONE ? NONE : nodes_[node.parent].place;
            if (shorter == NONE) continue;
            next_[k] = std::exchange(extended_[static_cast<size_t>(shorter)], static_cast<int32_t>(k));
            merge(k, beam_[static_cast<size_t>(shorter)], node.label, y[node.label]);
        }
    }

    // Whether the alignments of a prefix that end in its label cannot be followed by this one.
    bool repeats(const Prefix &prefix, int32_t label) const { return nodes_[prefix.node].label == label; }

    void merge(size_t k, const Prefix &shorter, int32_t label, double y) {
        const bool again = repeats(shorter, label);
        stays_[k].label = add(stays_[k].label, (again ? shorter.blank : shorter.total()) + y);
        const double best = (again ? shorter.best_blank : std::max(shorter.best_blank, shorter.best_label)) + y;
        if (best > stays_[k].best_label) {
            stays_[k].best_label = best;
            merged_[k] = true;
        }
    }

    // Offers a prefix with each label more, except those that are in the beam already.
    void extend(size_t k, const double *y) {
        const auto mark = [&](bool taken) {
            for (int32_t longer = extended_[k]; longer != NONE; longer = next_[static_cast<size_t>(longer)])
                taken_[static_cast<size_t>(nodes_[beam_[static_cast<size_t>(longer)].node].label)] = taken;
        };
        mark(true);
        const Prefix &prefix = beam_[k];
        const double total = prefix.total();
        const double *gains = prefix.gains ? prefix.gains->data() : nullptr;
        for (const int32_t v : live_) {
            if (taken_[static_cast<size_t>(v)]) continue;
            const double logprob = (repeats(prefix, v) ? prefix.blank : total) + y[v];
            const double extra = prefix.extra + (gains ? gains[v] : 0.0);
            best_.offer({logprob + extra, logprob, extra, static_cast<int32_t>(k), v});
        }
        mark(false);
    }

    void keep(const std::vector<Candidate> &kept, const double *y) {
        coming_.clear();
        origins_.clear();
        labels_.clear();
        for (const Candidate &candidate : kept) {
            const size_t k = static_cast<size_t>(candidate.place);
            coming_.push_back(candidate.label == NONE ? stayed(k) : longer(beam_[k], candidate, y[candidate.label]));
            use(coming_.back());
            origins_.push_back(candidate.place);
            labels_.push_back(candidate.label);
        }
        for (const Prefix &prefix : beam_) {
            nodes_[prefix.node].place = NONE;
            leave(prefix);
        }
        beam_.swap(coming_);
        for (size_t k = 0; k < beam_.size(); k++) nodes_[beam_[k].node].place = static_cast<int32_t>(k);
    }

    Prefix stayed(size_t k) {
        Prefix &prefix = stays_[k];
        if (merged_[k]) {
            const Prefix &shorter = beam_[static_cast<size_t>(nodes_[nodes_[prefix.node].parent].place)];
            prefix.spans_label = {close(shorter, nodes_[prefix.node].label), frame_, frame_ + 1};
        }
        return std::move(prefix);
    }

    Prefix longer(const Prefix &prefix, const Candidate &candidate, double y) {
        Prefix next{};
        next.node = child(prefix.node, candidate.label);
        next.label = candidate.logprob;
        const bool blank = repeats(prefix, candidate.label) || prefix.ends_in_blank();
        next.best_label = (blank ? prefix.best_blank : prefix.best_label) + y;
        next.spans_label = {close(prefix, candidate.label), frame_, frame_ + 1};
        next.extra = candidate.extra;
        return next;
    }

    // The alignment of a prefix that `label` can follow, as one that is over; nothing counts on it yet.
    int32_t close(const Prefix &prefix, int32_t label) {
        const bool blank = repeats(prefix, label) || prefix.ends_in_blank();
        const Open &open = blank ? prefix.spans_blank : prefix.spans_label;
        if (open.start < 0) return NONE;
        const int32_t place = closed_.take({open.before, 0, open.start, open.end});
        if (open.before != NONE) closed_[open.before].uses++;
        return place;
    }

    int32_t child(int32_t parent, int32_t label) {
        for (int32_t node = nodes_[parent].child; node != NONE; node = nodes_[node].next)
            if (nodes_[node].label == label) return node;
        const Node made{label, parent, NONE, nodes_[parent].child, 0, NONE, nodes_[parent].depth + 1};
        const int32_t node = nodes_.take(made);
        nodes_[parent].child = node;
        nodes_[parent].uses++;
        return node;
    }

    void use(const Prefix &prefix) {
        nodes_[prefix.node].uses++;
        for (const int32_t before : {prefix.spans_blank.before, prefix.spans_label.before})
            if (before != NONE) closed_[before].uses++;
    }

    void leave(const Prefix &prefix) {
        for (const int32_t before : {prefix.spans_blank.before, prefix.spans_label.before}) forget(before);
        for (int32_t node = prefix.node; node != NONE && --nodes_[node].uses == 0;) {
            const int32_t parent = nodes_[node].parent;
            if (parent != NONE) {
                int32_t *link = &nodes_[parent].child;
                while (*link != node) link = &nodes_[*link].next;
                *link = nodes_[node].next;
            }
            nodes_.give_back(node);
            node = parent;
        }
    }

    void forget(int32_t spans) {
        while (spans != NONE && --closed_[spans].uses == 0) {
            const int32_t before = closed_[spans].before;
            closed_.give_back(spans);
            spans = before;
        }
    }

    int32_t V_, blank_;
    double margin_;
    int64_t frame_ = 0;
    Slots<Node> nodes_;
    Slots<Closed> closed_;
    std::vector<Prefix> beam_, stays_, coming_;
    std::vector<int32_t> origins_, labels_;
    Best best_;

    // To work in: the labels that are possible in a frame; of each prefix the first in the beam that is a label longer, and
    // of that the next one; whether its likeliest alignment comes from the one a label shorter; labels not to offer again.
    std::vector<int32_t> live_, extended_, next_;
    std::vector<char> merged_, taken_;
};

}  // namespace

std::unique_ptr<PrefixBeam> prefix_beam(const ost_ctc_options &options) { return std::make_unique<Beam>(options); }

}  // namespace ost::OST_ISA
