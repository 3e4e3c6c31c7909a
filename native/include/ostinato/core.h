/* The C interface of Ostinato's native core.
 *
 * Whole sequences cross it, never single elements. Every array is dense, row-major, float32 where its type does not say
 * otherwise, and belongs to the caller; nothing is kept after a call returns unless a handle says so. Arrays of one call
 * must not overlap. Shapes are in the letters of docs/shapes.md: T time, B batch, I input width, H hidden, G gates, V
 * vocabulary, R readout, N = T*B.
 *
 * The caller has checked sizes and pointers: nothing here checks them again. `threads` is how many threads a call may
 * use; the result does not depend on it.
 */
#ifndef OSTINATO_CORE_H
#define OSTINATO_CORE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define OST_API __attribute__((visibility("default")))
#define OST_VERSION 5 /* of this interface; a library with another one is not used */

OST_API int32_t ost_version(void);

/* The instruction sets that this build holds and this machine can run, the best last, separated by blanks. */
OST_API const char *ost_isas(void);

/* The one in use. */
OST_API const char *ost_isa(void);

/* Use the named one from now on: 0, or -1 when this machine or this build has none of that name. */
OST_API int32_t ost_use_isa(const char *name);

/* ---- A recurrent layer over a sequence ------------------------------------------------------------------------- */

enum ost_cell {
    OST_RNN_TANH,
    OST_RNN_RELU,
    OST_RNN_LEAKY_RELU,
    OST_RNN_ELU,
    OST_GRU,
    OST_GRU_RESET_AFTER,
    OST_LSTM,
    OST_PEEPHOLE,
    OST_PEEPHOLE_DIAGONAL
};

/* One layer in one direction. The equations are those of kernels/reference.py, under the same names. Unused: null.
 *
 * With `reversed` it reads from the last step to the first. The state before step t is h[t] and the one after it h[t+1];
 * reversed, h[t+1] and h[t]. */
typedef struct ost_layer {
    int32_t cell; /* enum ost_cell */
    int32_t T, B, I, H;
    int32_t reversed;
    const float *x;         /* (T, B, I); null, forward only: `gates` has W x + b already */
    const int32_t *index;   /* (T, B), or null. With it x is (rows, I), and what a step reads is the row index[t, b] */
    int32_t rows;
    float *table;           /* (rows, G*H), to work in, where there is an index */
    const float *weight_ih; /* (G*H, I) */
    const float *bias;      /* (G*H) */
    const float *weight_hh; /* (G*H, H) */
    const float *bias_hn;   /* (H), gru_reset_after */
    const float *weight_ci; /* (H, H), or (H) for peephole_diagonal; also the next two */
    const float *weight_cf;
    const float *weight_co;
    const int32_t *lengths; /* (B), 1 to T: past its length a row's state stays; null: all T */
    const float *keep_h;    /* (T, B, H), the share of the state before that stays (zoneout); null: none */
    const float *keep_c;
    float *gates; /* (T, B, G*H), out (see x). Backward: in the gates, out the gradient of W x + b, 0 past a row's length. */
    float *h;     /* (T+1, B, H), in the initial state; forward fills the rest, backward reads all */
    float *c;     /* the same of the cell, where there is one */
    float *extra; /* (T, B, H), out. gru: r * h; gru_reset_after: U_n h + b_hn, which backward turns into its gradient;
                   * peepholes: the cell that o sees, before zoneout and a row's end hold it */

    /* Backward only. */
    const float *d_outputs; /* (T, B, H), of the state after each step; past a row's length it is not read */
    float *d_h;             /* (B, H). In: gradient of the last state; out: of the initial one */
    float *d_c;
    float *d_x;         /* as x, out; null: not wanted */
    float *d_weight_ih; /* of the shapes above, out; also the rest */
    float *d_bias;
    float *d_weight_hh;
    float *d_bias_hn;
    float *d_weight_ci;
    float *d_weight_cf;
    float *d_weight_co;
} ost_layer;

/* Several layers at once that do not depend on each other, such as the two directions of a bidirectional one.
 * 0, or -1 when memory for packed weights is short (then nothing was written). */
OST_API int32_t ost_recurrent_forward(const ost_layer *layers, int32_t count, int32_t threads);
OST_API int32_t ost_recurrent_backward(const ost_layer *layers, int32_t count, int32_t threads);

/* ---- Products ---------------------------------------------------------------------------------------------------- */

/* c = a b + bias, or c + a b + bias with `add`. Elements: a (M, K) at a[m * a_row + k * a_k], b (K, N) at
 * b[k * b_k + n * b_column], c (M, N) at c[m * c_row + n]; bias (N) or null. One of b's two steps is 1. */
typedef struct ost_product {
    int32_t M, N, K;
    const float *a;
    int64_t a_row, a_k;
    const float *b;
    int64_t b_k, b_column;
    float *c;
    int64_t c_row;
    const float *bias;
    int32_t add;
} ost_product;

/* 0, or -1 when memory for packed blocks is short. */
OST_API int32_t ost_multiply(const ost_product *product, int32_t threads);

/* ---- The output layer and its loss -------------------------------------------------------------------------------- */

/* The cross entropy of softmax(x weight^T + bias), without ever holding the scores of all tokens. */
typedef struct ost_output {
    int32_t N, V, R;
    const float *x;         /* (N, R) */
    const float *weight;    /* (V, R) */
    const float *bias;      /* (V), or null */
    const int64_t *targets; /* (N), from 0 to V - 1 */
    float *nats;            /* (N), out: -log p of each target */
    float scale;            /* the gradients are those of scale times the sum of nats */
    float *d_x;             /* (N, R), out; null: no gradients */
    float *d_weight;        /* (V, R), out */
    float *d_bias;          /* (V), out */
} ost_output;

/* 0, or -1 when memory is short. Here alone the last bits depend on the number of threads: each sums its own words. */
OST_API int32_t ost_cross_entropy(const ost_output *output, int32_t threads);

/* ---- Dropout -------------------------------------------------------------------------------------------------------- */

/* y = x / (1 - p), or 0 with probability p. Which elements are 0 depends on the seed and their place alone: the gradient of y,
 * with the same seed, is that of x. Instruction sets and numbers of threads agree. */
typedef struct ost_dropping {
    int64_t n; /* at most 2^32 */
    const float *x;
    float *y; /* (n), out; may be x */
    double p; /* from 0, below 1 */
    uint64_t seed;
} ost_dropping;

OST_API int32_t ost_dropout(const ost_dropping *dropping, int32_t threads);

/* ---- The optimiser ------------------------------------------------------------------------------------------------ */

typedef struct ost_tensor {
    int64_t size;
    float *weights;
    const float *gradient;
    float *first, *second; /* running means of gradient and square, from 0 */
    float *average;        /* running average of the weights, or null */
    float decay;           /* weight decay */
} ost_tensor;

/* A step of AdamW: gradients clipped to +-clip_value each, then together to the norm clip (0: off). Nothing changes when
 * the norm is not finite. */
typedef struct ost_update {
    int32_t count;
    const ost_tensor *tensors;
    int64_t step; /* from 1 */
    double rate, beta1, beta2, epsilon, clip, clip_value;
    double keep;     /* of the average, the share that stays */
    double norms[2]; /* out: of all gradients, before clipping and after */
} ost_update;

OST_API int32_t ost_step(ost_update *update, int32_t threads);

/* ---- A trained model that reads and writes ----------------------------------------------------------------------- */

typedef struct ost_model_layer {
    int32_t cell;           /* enum ost_cell */
    int32_t I, H;           /* widths of input and state */
    const float *weight_ih; /* (G*H, I) */
    const float *bias;      /* (G*H) */
    const float *weight_hh, *bias_hn, *weight_ci, *weight_cf, *weight_co; /* as in ost_layer */
    const float *norm_weight, *norm_bias; /* (H), layer norm of the output, or null */
} ost_model_layer;

/* The input of the first layer is a row of the embedding, that of each other one the output of the one below. The
 * readout (R) is the output of the last layer, or with skip_output those of all side by side. */
typedef struct ost_model {
    int32_t V, E, R, layers;
    const ost_model_layer *layer;
    const float *embedding;     /* (V, E) */
    const float *output_weight; /* (V, R) */
    const float *output_bias;   /* (V) */
    float keep;                 /* the share of the state before that stays, in every part: the mean of zoneout */
    int32_t residual;           /* a layer whose input is as wide as its output adds it */
    int32_t skip_output;
    int32_t int8; /* weights in eight bits, a scale for each row; sums of products are exact */
} ost_model;

/* Holds packed copies of all matrices. The embedding, the biases and the norms are not copied: they must stay. */
typedef struct ost_engine ost_engine;

/* Null when memory is short. It uses the instruction set that was in use when it was made. */
OST_API ost_engine *ost_engine_new(const ost_model *model, int32_t threads);
OST_API void ost_engine_free(ost_engine *engine);

/* Floats of the state of one stream, S: for every layer h (H), and c (H) where the cell has one; then the readout (R). */
OST_API int32_t ost_engine_state_width(const ost_engine *engine);

/* Bytes of packed weights. */
OST_API int64_t ost_engine_bytes(const ost_engine *engine);

/* B streams read a token each. A stream's numbers do not depend on the others. */
typedef struct ost_reading {
    int32_t B;
    const int64_t *ids; /* (B), from 0 to V - 1 */
    float *states;      /* (B, S), before and, when the call returns, after */
    float *logits;      /* (B, V), out: the scores of the next token; or null */
} ost_reading;

/* 0, or -1 when memory is short (then nothing was changed). */
OST_API int32_t ost_engine_read(ost_engine *engine, const ost_reading *reading, int32_t threads);

/* B streams write `steps` tokens each: from the readout the scores, from these a token, which is read. The distribution
 * is that of decode/sampling.py; temperature 0 takes the likeliest token. */
typedef struct ost_writing {
    int32_t B, steps;
    float *states;          /* (B, S), as above */
    const double *uniforms; /* (steps, B) in [0, 1) */
    double temperature, top_p, min_p;
    int32_t top_k;         /* 0: all */
    int32_t banned;        /* how many tokens are never written */
    const int32_t *bans;   /* (banned) */
    int64_t *ids;          /* (steps, B), out */
    float *logprobs;       /* (steps, B), out: nats, of the model's own distribution */
    float *history;        /* (steps, B, S), out: the state after each token; or null */
} ost_writing;

OST_API int32_t ost_engine_write(ost_engine *engine, const ost_writing *writing, int32_t threads);

/* ---- Prefix beam search over the output of a recogniser ----------------------------------------------------------- */

/* The definition is ctc/reference.py. K is the number of prefixes in the beam now, at most `width`; they stand in the
 * order of their scores as these were known when the last frame was over. */
typedef struct ost_ctc_options {
    int32_t V, blank, width;
    double margin; /* prefixes whose score is further below the best are dropped; infinite: none */
} ost_ctc_options;

/* A beam that has read no frame yet: the empty prefix. Null when memory is short. */
typedef struct ost_ctc ost_ctc;
OST_API ost_ctc *ost_ctc_new(const ost_ctc_options *options);
OST_API void ost_ctc_free(ost_ctc *beam);

/* Go over frames (T, V), log-probabilities, -inf among them, one in each frame finite. Where a beam is fused, T is 1 and
 * ost_ctc_fuse follows. 0, or -1 when memory is short: then the beam can only be freed. */
OST_API int32_t ost_ctc_advance(ost_ctc *beam, int64_t T, const double *frames);

/* K; `longest` is the number of labels of the longest prefix. */
OST_API int32_t ost_ctc_size(const ost_ctc *beam, int64_t *longest);

/* Of each prefix (K): the place, before the last frame, of the one it comes from; the label it added, or -1. */
OST_API void ost_ctc_came(const ost_ctc *beam, int32_t *origins, int32_t *labels);

/* Of N prefixes, at `places` (N): what language models add to the score (N), and how much more for each label that may
 * follow (N, V). A prefix that is never fused has no gains. 0, or -1 when memory is short (then nothing was changed). */
OST_API int32_t ost_ctc_fuse(ost_ctc *beam, int32_t N, const int32_t *places, const double *extras, const double *gains);

/* Of each prefix (K): the log-probability of all alignments together. */
OST_API void ost_ctc_totals(const ost_ctc *beam, double *logprobs);

/* Of the prefix at `place`: its labels and, of the likeliest alignment, the first frame of each and the frame after its
 * last. The arrays have room for the `longest`; how many labels there are comes back. */
OST_API int64_t ost_ctc_read(const ost_ctc *beam, int32_t place, int32_t *labels, int64_t *starts, int64_t *ends);

/* ---- Elementwise functions, for tests of their error ------------------------------------------------------------- */

enum ost_function { OST_EXP, OST_TANH, OST_SIGMOID };

/* y[i] = f(x[i]), i < n; x and y may be the same. */
OST_API void ost_apply(int32_t function, int64_t n, const float *x, float *y);

#ifdef __cplusplus
}
#endif
#endif
