/* Known mistakes in experts, the router and the formats of weights: see v4_traps.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "base/rng.h"
#include "v4_traps.h"

/* The experts' output of a token of layer 1, routed and shared parts clamped or not. */
static void experts(double *y, int t, bool clamp_routed, bool clamp_shared)
{
    const struct v4_block_weights *w = &rig.v4->w.layers[1];
    int inter = config.moe_inter_dim;
    double x[DIM], gate[64], up[64], out[DIM];
    widen(x, row_of(t, "layers.1.F.collapsed"), DIM);
    rms_norm(x, x, w->ffn_norm, DIM);
    memset(y, 0, DIM * sizeof *y);
    for (int i = 0; i <= config.n_activated_experts; i++) {
        bool shared = i == config.n_activated_experts, clamp = shared ? clamp_shared : clamp_routed;
        int e = shared ? 0 : (int)row_of(t, "layers.1.F.idx")[i];
        double weight = shared ? 1 : (double)row_of(t, "layers.1.F.weights")[i],
               limit = clamp ? config.swiglu_limit : 1e30;
        product(gate, shared ? &w->shared.w1 : &w->expert_gate[e], x);
        product(up, shared ? &w->shared.w3 : &w->expert_up[e], x);
        for (int k = 0; k < inter; k++) {
            double g = fmin(gate[k], limit), u = fmax(fmin(up[k], limit), -limit);
            gate[k] = g * sigmoid(g) * u * weight;
        }
        product(out, shared ? &w->shared.w2 : &w->expert_down[e], gate);
        for (int d = 0; d < DIM; d++) y[d] += out[d];
    }
}

static void trap_17_routed_experts_are_clamped(void **state)
{
    (void)state;
    double right[DIM], wrong[DIM];
    experts(right, 20, true, true);
    experts(wrong, 20, false, true);
    assert_right(right, wrong, row_of(20, "layers.1.F.out"), DIM);
}

static void trap_18_the_shared_expert_is_clamped(void **state)
{
    (void)state;
    double right[DIM], wrong[DIM];
    experts(right, 21, true, true);
    experts(wrong, 21, true, false);
    assert_right(right, wrong, row_of(21, "layers.1.F.out"), DIM);
}

static void trap_19_hash_layers_use_the_token_itself(void **state)
{
    (void)state;
    const struct v4_block_weights *w = &rig.v4->w.layers[0];
    assert_null(w->gate_bias);
    int shifted = 0;
    for (int t = 0; t < N_TOKENS; t++)
        for (int i = 0; i < 2; i++) {
            assert_int_equal((int)row_of(t, "layers.0.F.idx")[i], w->tid2eid[2 * ids[t] + i]);
            shifted += w->tid2eid[2 * ids[t + 1] + i] != w->tid2eid[2 * ids[t] + i];
        }
    assert_true(shifted > 20);
    double a = (double)row_of(9, "layers.0.F.scores")[w->tid2eid[2 * ids[9]]],
           b = (double)row_of(
               9, "layers.0.F.scores")[w->tid2eid[2 * ids[9] + 1]]; /* scores still give the weights */
    assert_true(fabs((double)row_of(9, "layers.0.F.weights")[0] - a / (a + b) * config.route_scale) < 1e-6);
}

static void trap_20_tid2eid_is_i64(void **state)
{
    (void)state;
    const struct tensor *t = checkpoint_find(rig.checkpoint, "layers.0.ffn.gate.tid2eid");
    assert_int_equal(t->dtype, DTYPE_I64);
    int differ = 0;
    for (size_t i = 0; i < 2 * V; i++) {
        int64_t id;
        int32_t half;
        memcpy(&id, t->data + 8 * i, 8);
        memcpy(&half, t->data + 4 * i, 4);
        assert_int_equal(rig.v4->w.layers[0].tid2eid[i], id);
        differ += half != id;
    }
    assert_true(differ > 100);
}

/* ---- formats and kernels ---- */

static void trap_30_nibble_order_of_both_containers(void **state)
{
    (void)state;
    uint8_t official[16], block[17], one = 127;
    float a[32], b[32];
    for (int i = 0; i < 16; i++) {
        official[i] =
            (uint8_t)(2 * i % 16 | (2 * i + 1) % 16 << 4); /* code i % 16 at place i, neighbours together */
        block[1 + i] = (uint8_t)(i | i << 4);              /* places i and i + 16 */
    }
    block[0] = 127;
    struct matrix m = {.dtype = DTYPE_FP4_E2M1,
                       .rows = 1,
                       .cols = 32,
                       .data = official,
                       .row_bytes = 16,
                       .scale = &one,
                       .scale_dtype = DTYPE_E8M0,
                       .scale_rows = 1,
                       .scale_cols = 32,
                       .scale_stride = 1};
    matrix_decode_row(a, &m, 0);
    m = (struct matrix){.dtype = DTYPE_MXFP4, .rows = 1, .cols = 32, .data = block, .row_bytes = 17};
    matrix_decode_row(b, &m, 0);
    static const float codes[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
    for (int i = 0; i < 32; i++) {
        float want = i % 16 < 8 ? codes[i % 8] : -codes[i % 8];
        assert_true(a[i] == want && b[i] == want);
    }
}

/* Equal scores and equal biases: the lower experts win; sqrt(softplus(0)) is the table's value. */
static void trap_31_router_ties_and_softplus(void **state)
{
    (void)state;
    struct temp_folder f;
    struct rig r;
    struct error err = {0};
    struct trace t;
    float out[V];
    temp_folder_make(&f);
    v4_test_write(&f, &config, 1);
    need(rig_open(&r, f.path, &v4_exact, 64, 1, NULL, &err), &err);
    static const uint8_t zeros[4096];
    static const float no_bias[8];
    struct v4_block_weights *w = &r.v4->w.layers[1];
    assert_true((size_t)w->gate.rows * w->gate.row_bytes <= sizeof zeros && w->gate.rows <= 8);
    w->gate.data = zeros;
    w->gate_bias = no_bias;
    trace_init(&t, 3);
    struct state *s = rig_state(&r);
    eval(&r, s, ids, 1, out, &t.probe);
    const float *idx = row_in(&t, 0, "layers.1.F.idx"), *score = row_in(&t, 0, "layers.1.F.scores");
    assert_true(idx[0] == 0 && idx[1] == 1);
    for (int e = 0; e < 6; e++) assert_true(fabs((double)score[e] - 0.832554611) < 1e-7);
    for (int e = 0; e < 6; e++) { /* and on real ones: double arithmetic, rounded once */
        double x[DIM], z[8];
        widen(x, row_of(5, "layers.2.F.collapsed"), DIM);
        rms_norm(x, x, rig.v4->w.layers[2].ffn_norm, DIM);
        product(z, &rig.v4->w.layers[2].gate, x);
        assert_true(fabs((double)row_of(5, "layers.2.F.scores")[e] - sqrt(log1p(exp(z[e])))) < 1e-5);
    }
    rig_state_close(s);
    trace_free(&t);
    rig_close(&r);
    temp_folder_remove(&f);
}

static void trap_32_block_scales_of_fp8_matrices(void **state)
{
    (void)state;
    enum { ROWS = 160, COLS = 288 };
    static uint8_t data[ROWS * COLS];
    uint8_t scale[2 * 3] = {127, 130, 124, 126, 129, 128};
    static float x[COLS], y[ROWS];
    struct rng r;
    rng_seed(&r, 2);
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = e4m3_from_f32((float)((int)rng_below(&r, 33) - 16) / 8);
    for (int i = 0; i < COLS; i++) x[i] = (float)((int)rng_below(&r, 17) - 8);
    struct matrix m = {.dtype = DTYPE_FP8_E4M3,
                       .rows = ROWS,
                       .cols = COLS,
                       .data = data,
                       .row_bytes = COLS,
                       .scale = scale,
                       .scale_dtype = DTYPE_E8M0,
                       .scale_rows = 128,
                       .scale_cols = 128,
                       .scale_stride = 3};
    kernels_matmul(&rig.kernels, DTYPE_FP8_E4M3)(y, ROWS, &m, x, COLS, 1, 0, ROWS);
    for (int o = 0; o < ROWS; o++) {
        double want = 0;
        for (int i = 0; i < COLS; i++)
            want += (double)f32_from_e4m3(data[o * COLS + i]) * exp2(scale[o / 128 * 3 + i / 128] - 127) *
                    (double)x[i];
        assert_true((double)y[o] == want); /* small integers over powers of two: exact */
    }
}

static void trap_33_e8m0_zero_is_no_zero(void **state)
{
    (void)state;
    assert_true(f32_from_e8m0(0) == 0x1p-127f && f32_from_e8m0(0) > 0);
    assert_true(f32_from_e8m0(1) == 0x1p-126f && f32_from_e8m0(127) == 1 && f32_from_e8m0(121) == 0x1p-6f);
    assert_true(isnan(f32_from_e8m0(255)));
    static const float in[8] = {0x1p-10f, 3 * 0x1p-10f, 0x1p-9f, 447, 17, 19, 1.0625f, 1.1875f},
                       want[8] = {0, 0x1p-8f, 0x1p-9f, 448, 16, 20, 1, 1.25f};
    for (int i = 0; i < 8; i++) assert_true(f32_from_e4m3(e4m3_from_f32(in[i])) == want[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trap_17_routed_experts_are_clamped),
        cmocka_unit_test(trap_18_the_shared_expert_is_clamped),
        cmocka_unit_test(trap_19_hash_layers_use_the_token_itself),
        cmocka_unit_test(trap_20_tid2eid_is_i64),
        cmocka_unit_test(trap_30_nibble_order_of_both_containers),
        cmocka_unit_test(trap_31_router_ties_and_softplus),
        cmocka_unit_test(trap_32_block_scales_of_fp8_matrices),
        cmocka_unit_test(trap_33_e8m0_zero_is_no_zero),
    };
    return cmocka_run_group_tests(tests, traps_open, traps_close);
}
