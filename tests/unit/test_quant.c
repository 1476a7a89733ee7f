/* Number formats: golden bytes both ways, error bounds, odd inputs, look-ups. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "quant/formats.h"
#include "support/safetensors_lite.h"

enum { MAX_BLOCK = 256, N_FORMATS = 93 };

/* A row in heap pieces of exactly the right size, so that the address sanitizer
 * sees every byte too many; `shift` moves each plane off its alignment. */
typedef struct {
    uint8_t *base[LM_QUANT_PLANES], *plane[LM_QUANT_PLANES];
    const uint8_t *read[LM_QUANT_PLANES];
    size_t n_bytes[LM_QUANT_PLANES];
} row;

static row row_new(const lm_quant *q, size_t n, size_t shift)
{
    row r = { 0 };
    for (int p = 0; p < q->n_planes; p++) {
        r.n_bytes[p] = (size_t)lm_quant_row_bytes(q, p, n);
        r.base[p] = malloc(r.n_bytes[p] + shift);
        assert_non_null(r.base[p]);
        memset(r.base[p], 0xa5, r.n_bytes[p] + shift);
        r.plane[p] = r.base[p] + shift;
        r.read[p] = r.plane[p];
    }
    return r;
}

static void row_free(row *r)
{
    for (int p = 0; p < LM_QUANT_PLANES; p++)
        free(r->base[p]);
}

static void assert_same_row(const lm_quant *q, const row *a, const row *b)
{
    for (int p = 0; p < q->n_planes; p++)
        if (memcmp(a->plane[p], b->plane[p], a->n_bytes[p]) != 0)
            fail_msg("%s: plane %d differs", q->name, p);
}

static bool same_float(float a, float b)
{
    return a == b || (isnan(a) && isnan(b));
}

static void assert_same_floats(const char *what, const float *got, const float *want, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!same_float(got[i], want[i]))
            fail_msg("%s: number %zu is %a, expected %a", what, i, (double)got[i], (double)want[i]);
}

static uint64_t seed = 0x9e3779b97f4a7c15u;

static uint32_t random_u32(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 32);
}

static float random_unit(void) /* [-1, 1) */
{
    return (float)(int32_t)random_u32() * 0x1p-31f;
}

static st_file *golden(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/quant/%s", LM_TEST_DATA, name);
    st_file *f = st_open(path);
    assert_non_null(f);
    return f;
}

/* Tensor NAME.suffix as it must be. */
static st_tensor need(const st_file *f, const char *name, const char *suffix)
{
    st_tensor t;
    char full[96];
    snprintf(full, sizeof full, "%s%s", name, suffix);
    if (!st_find(f, full, &t))
        fail_msg("the golden file has no %s", full);
    return t;
}

/* The golden numbers, copied to where floats may lie. */
static float *floats_of(const st_tensor *t)
{
    float *x = malloc(t->n_bytes);
    assert_non_null(x);
    assert_string_equal(t->dtype, "F32");
    memcpy(x, t->data, t->n_bytes);
    return x;
}

static void assert_decodes(const lm_quant *q, const char *what, const uint8_t *const *planes,
                           const float *want, size_t n)
{
    float *got = malloc(n * sizeof *got);
    assert_non_null(got);
    q->to_f32(q, planes, n, got);
    assert_same_floats(what, got, want, n);
    free(got);
}

static void every_gguf_type_decodes_to_the_golden_values(void **state)
{
    st_file *f = golden("gguf-formats.safetensors");
    size_t n_types = 0;
    const char *name;
    (void)state;
    for (size_t i = 0; (name = st_name(f, i)) != NULL; i++) {
        const char *dot = strstr(name, ".bytes");
        char type[32];
        if (!dot)
            continue;
        snprintf(type, sizeof type, "%.*s", (int)(dot - name), name);
        const lm_quant *q = lm_quant_by_name(type);
        if (!q)
            fail_msg("no format %s", type);
        st_tensor bytes = need(f, type, ".bytes"), values = need(f, type, ".values");
        assert_int_equal(bytes.dims[1], q->block_bytes[0]);
        assert_int_equal(values.dims[1], q->block_elems);
        float *want = floats_of(&values);
        assert_decodes(q, type, &(const uint8_t *){ bytes.data }, want, values.n_elems);
        free(want);
        n_types++;
    }
    assert_int_equal(n_types, 25);
    st_close(f);
}

static void every_gguf_encoder_writes_the_golden_bytes(void **state)
{
    st_file *f = golden("gguf-formats.safetensors");
    st_tensor w = need(f, "w", "");
    float *x = floats_of(&w);
    size_t n_encoders = 0;
    const lm_quant *q;
    (void)state;
    for (size_t i = 0; (q = lm_quant_at(i)) != NULL; i++) {
        st_tensor want;
        char name[48];
        snprintf(name, sizeof name, "%s.encoded", q->name);
        for (char *c = name; *c != '.'; c++)
            *c = (char)(*c >= 'a' && *c <= 'z' ? *c - 32 : *c);
        if (!st_find(f, name, &want))
            continue;
        assert_non_null(q->from_f32);
        row r = row_new(q, w.n_elems, 0);
        assert_int_equal(want.n_bytes, r.n_bytes[0]);
        q->from_f32(q, x, w.n_elems, r.plane);
        for (size_t b = 0; b < want.n_bytes; b++)
            if (r.plane[0][b] != want.data[b])
                fail_msg("%s: byte %zu is %u, expected %u", name, b, r.plane[0][b], want.data[b]);
        row_free(&r);
        n_encoders++;
    }
    assert_int_equal(n_encoders, 10);
    free(x);
    st_close(f);
}

/* Decodes and encodes one golden entry of MLX; x is the input already cast. */
static void check_mlx(const st_file *f, const lm_quant *q, const char *name, const float *x)
{
    st_tensor values = need(f, name, ".values");
    st_tensor plane[LM_QUANT_PLANES] = { need(f, name, ".weight"), need(f, name, ".scales") };
    if (q->n_planes == 3)
        plane[2] = need(f, name, ".biases");
    const uint8_t *planes[LM_QUANT_PLANES] = { plane[0].data, plane[1].data, plane[2].data };
    size_t n = values.n_elems;
    row r = row_new(q, n, 0);
    float *want = floats_of(&values);
    assert_decodes(q, name, planes, want, n);
    assert_non_null(q->from_f32);
    q->from_f32(q, x, n, r.plane);
    for (int p = 0; p < q->n_planes; p++) {
        assert_int_equal(r.n_bytes[p], plane[p].n_bytes);
        for (size_t b = 0; b < r.n_bytes[p]; b++)
            if (r.plane[p][b] != planes[p][b])
                fail_msg("%s: byte %zu of plane %d is %u, expected %u", name, b, p, r.plane[p][b],
                         planes[p][b]);
    }
    free(want);
    row_free(&r);
}

static void every_mlx_format_agrees_with_the_golden_pack_both_ways(void **state)
{
    static const struct {
        const char *name;
        lm_quant_kind kind;
    } TYPES[] = { { "float32", LM_Q_F32 }, { "float16", LM_Q_F16 }, { "bfloat16", LM_Q_BF16 } };
    static const unsigned BITS[] = { 1, 2, 3, 4, 5, 6, 8 }, GROUPS[] = { 32, 64, 128 };
    st_file *f = golden("mlx-formats.safetensors");
    st_tensor w = need(f, "w", "");
    float *x = floats_of(&w), *cast = malloc(w.n_bytes);
    char name[64];
    (void)state;
    assert_non_null(cast);
    for (size_t t = 0; t < LM_LEN(TYPES); t++) {
        for (size_t i = 0; i < w.n_elems; i++)
            cast[i] = TYPES[t].kind == LM_Q_F32   ? x[i]
                      : TYPES[t].kind == LM_Q_F16 ? lm_f16_to_f32(lm_f32_to_f16(x[i]))
                                                  : lm_bf16_to_f32(lm_f32_to_bf16(x[i]));
        for (size_t b = 0; b < LM_LEN(BITS); b++)
            for (size_t g = 0; g < LM_LEN(GROUPS); g++) {
                const lm_quant *q = lm_quant_affine(BITS[b], GROUPS[g], TYPES[t].kind);
                assert_non_null(q);
                snprintf(name, sizeof name, "affine-%u-%u-%s", BITS[b], GROUPS[g], TYPES[t].name);
                check_mlx(f, q, name, cast);
            }
    }
    check_mlx(f, lm_quant_of(LM_Q_MLX_MXFP4), "mxfp4", x);
    check_mlx(f, lm_quant_of(LM_Q_MLX_MXFP8), "mxfp8", x);
    check_mlx(f, lm_quant_of(LM_Q_MLX_NVFP4), "nvfp4", x);
    free(cast);
    free(x);
    st_close(f);
}

/* One block of test numbers with amax around `size`; `kind` picks its shape. */
static void fill(float *x, size_t n, unsigned kind, float size)
{
    float base = random_unit();
    for (size_t i = 0; i < n; i++) {
        float u = random_unit();
        switch (kind % 6) {
        case 0: x[i] = u; break;
        case 1: x[i] = u * u * u; break;                                        /* a few large ones */
        case 2: x[i] = u < 0 ? -1.0f : 1.0f; break;                             /* the edges alone */
        case 3: x[i] = 3 + u; break;                                            /* one sign */
        case 4: x[i] = (u < -0.5f ? -1.0f : u > 0.5f ? fabsf(base) : u); break; /* lopsided */
        default: x[i] = base + u * 0.01f; break;                                /* nearly equal */
        }
        x[i] *= size;
    }
}

static float worst_error(const lm_quant *q, const float *x, row *r)
{
    float y[MAX_BLOCK], amax = 0, worst = 0;
    q->from_f32(q, x, q->block_elems, r->plane);
    q->to_f32(q, r->read, q->block_elems, y);
    for (size_t i = 0; i < q->block_elems; i++) {
        amax = fmaxf(amax, fabsf(x[i]));
        worst = fmaxf(worst, fabsf(y[i] - x[i]));
    }
    return amax > 0 ? worst / amax : worst;
}

static void errors_stay_within_the_stated_bound_and_come_near_it(void **state)
{
    const lm_quant *q;
    bool print = getenv("LM_TEST_VERBOSE") != NULL;
    (void)state;
    for (size_t i = 0; (q = lm_quant_at(i)) != NULL; i++) {
        if (!q->from_f32)
            continue;
        row r = row_new(q, q->block_elems, 1);
        float x[MAX_BLOCK], worst = 0;
        unsigned rounds = 200000u / q->block_elems;
        for (unsigned k = 0; k < rounds; k++) {
            fill(x, q->block_elems, k, ldexpf(1.0f + 0.5f * random_unit(), (int)(k / 6 % 9)));
            if (lm_quant_amax(x, q->block_elems) < 0x1p-3f) /* scales leave their normal range: nvfp4 */
                continue;
            float e = worst_error(q, x, &r);
            if (!(e <= q->max_error))
                fail_msg("%s: error %.6f, stated %.6f", q->name, (double)e, (double)q->max_error);
            worst = fmaxf(worst, e);
        }
        if (print)
            print_message("%-18s measured %.6f stated %.6f\n", q->name, (double)worst, (double)q->max_error);
        /* an idle bound would not be honest */
        if (!(worst >= 0.75f * q->max_error))
            fail_msg("%s: error %.6f, stated %.6f", q->name, (double)worst, (double)q->max_error);
        row_free(&r);
    }
}

static void zeros_and_equal_numbers_survive(void **state)
{
    static const float VALUES[] = { 0.0f, -0.0f, 1.0f, -1.0f, 0.37f, -700.0f, 0.125f };
    const lm_quant *q;
    (void)state;
    for (size_t i = 0; (q = lm_quant_at(i)) != NULL; i++) {
        float x[MAX_BLOCK], y[MAX_BLOCK];
        if (!q->from_f32)
            continue;
        row r = row_new(q, q->block_elems, 0);
        for (size_t v = 0; v < LM_LEN(VALUES); v++) {
            for (size_t j = 0; j < q->block_elems; j++)
                x[j] = VALUES[v];
            q->from_f32(q, x, q->block_elems, r.plane);
            q->to_f32(q, r.read, q->block_elems, y);
            for (size_t j = 0; j < q->block_elems; j++) {
                if (y[j] != y[0])
                    fail_msg("%s: equal numbers came out unequal", q->name);
                if (!(fabsf(y[j] - x[j]) <= q->max_error * fabsf(x[j])))
                    fail_msg("%s: %g came out as %g", q->name, (double)x[j], (double)y[j]);
            }
        }
        row_free(&r);
    }
}

static void strange_numbers_stay_in_their_block(void **state)
{
    static const float STRANGE[] = { NAN,      -NAN,   INFINITY, -INFINITY, 3.4e38f,
                                     -3.4e38f, 1e-45f, -1e-40f,  70000.0f };
    const lm_quant *q;
    (void)state;
    for (size_t i = 0; (q = lm_quant_at(i)) != NULL; i++) {
        size_t block = q->block_elems, n = 3 * block;
        float x[3 * MAX_BLOCK], y[3 * MAX_BLOCK], clean[MAX_BLOCK];
        if (!q->from_f32)
            continue;
        row r = row_new(q, n, 0), alone = row_new(q, block, 0);
        for (unsigned k = 0; k < 64; k++) {
            fill(x, n, k, 1.0f);
            if (k < LM_LEN(STRANGE)) /* a block of nothing else */
                for (size_t j = 0; j < block; j++)
                    x[block + j] = STRANGE[k];
            else
                for (unsigned m = 0; m < 1 + k % 4; m++)
                    x[block + random_u32() % block] = STRANGE[random_u32() % LM_LEN(STRANGE)];
            q->from_f32(q, x, n, r.plane);
            q->to_f32(q, r.read, n, y);
            for (size_t at = 0; at < n; at += 2 * block) { /* the neighbours, one by one */
                q->from_f32(q, x + at, block, alone.plane);
                q->to_f32(q, alone.read, block, clean);
                assert_same_floats(q->name, y + at, clean, block);
            }
        }
        row_free(&r);
        row_free(&alone);
    }
}

static void any_bytes_decode_at_any_address_in_any_portion(void **state)
{
    const lm_quant *q;
    (void)state;
    for (size_t i = 0; (q = lm_quant_at(i)) != NULL; i++) {
        enum { BLOCKS = 5 };
        size_t block = q->block_elems, n = BLOCKS * block;
        float whole[BLOCKS * MAX_BLOCK], moved[BLOCKS * MAX_BLOCK], part[MAX_BLOCK + 1];
        row r = row_new(q, n, 0), odd = row_new(q, n, 1);
        for (unsigned k = 0; k < 50; k++) {
            for (int p = 0; p < q->n_planes; p++) {
                for (size_t b = 0; b < r.n_bytes[p]; b++)
                    r.plane[p][b] = k == 0 ? 0xff : (uint8_t)random_u32();
                memcpy(odd.plane[p], r.plane[p], r.n_bytes[p]);
            }
            q->to_f32(q, r.read, n, whole);
            q->to_f32(q, odd.read, n, moved);
            assert_same_floats(q->name, moved, whole, n);
            for (size_t b = 0; b < BLOCKS; b++) {
                const uint8_t *at[LM_QUANT_PLANES] = { 0 };
                for (int p = 0; p < q->n_planes; p++)
                    at[p] = r.read[p] + b * q->block_bytes[p];
                part[block] = 42;
                q->to_f32(q, at, block, part);
                assert_same_floats(q->name, part, whole + b * block, block);
                assert_true(part[block] == 42);
            }
            q->to_f32(q, r.read, 0, part);
        }
        if (q->from_f32) { /* and encodes there too */
            fill(whole, n, 1, 2.0f);
            q->from_f32(q, whole, n, r.plane);
            q->from_f32(q, whole, n, odd.plane);
            assert_same_row(q, &r, &odd);
        }
        row_free(&r);
        row_free(&odd);
    }
}

static void halves_convert_exactly_and_round_to_even(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x10000; h++) {
        int e = (int)(h >> 10 & 31), m = (int)(h & 1023);
        float sign = h & 0x8000 ? -1.0f : 1.0f, f = lm_f16_to_f32((uint16_t)h);
        if (e == 31 && m != 0) {
            assert_true(isnan(f));
            assert_true(isnan(lm_f16_to_f32(lm_f32_to_f16(f))));
            continue;
        }
        float want = e == 31 ? INFINITY : e == 0 ? ldexpf((float)m, -24) : ldexpf((float)(1024 + m), e - 25);
        assert_true(f == sign * want && signbit(f) == signbit(sign));
        assert_int_equal(lm_f32_to_f16(f), h);
        if (e == 31)
            continue;
        /* halfway to the next one (for the last: where infinity begins) */
        float next = e == 30 && m == 1023 ? 65536.0f : lm_f16_to_f32((uint16_t)((h & 0x7fff) + 1));
        float middle = sign * (want + (next - want) / 2);
        assert_int_equal(lm_f32_to_f16(middle), h + (h & 1));
        assert_int_equal(lm_f32_to_f16(nextafterf(middle, 0)), h);
        assert_int_equal(lm_f32_to_f16(nextafterf(middle, sign * INFINITY)), h + 1);
    }
    assert_int_equal(lm_f32_to_f16(1e30f), 0x7c00);
    assert_int_equal(lm_f32_to_bf16(1.0f + 0x1p-8f), 0x3f80);
    assert_int_equal(lm_f32_to_bf16(1.0f + 3 * 0x1p-8f), 0x3f82);
    assert_true(isnan(lm_bf16_to_f32(lm_f32_to_bf16(lm_quant_float_of(0x7f800001u)))));
}

static void small_floats_convert_exactly_and_round_to_even(void **state)
{
    (void)state;
    for (uint32_t b = 0; b < 256; b++) {
        int e = (int)(b >> 3 & 15), m = (int)(b & 7);
        float sign = b & 0x80 ? -1.0f : 1.0f, f = lm_quant_e4m3_to_f32((uint8_t)b);
        if ((b & 0x7f) == 0x7f) {
            assert_true(isnan(f));
            continue;
        }
        assert_true(f == sign * (e == 0 ? ldexpf((float)m, -9) : ldexpf((float)(8 + m), e - 10)));
        assert_int_equal(lm_quant_f32_to_e4m3(f), b);
        if ((b & 0x7f) == 0x7e)
            continue;
        float middle = f / 2 + lm_quant_e4m3_to_f32((uint8_t)(b + 1)) / 2;
        assert_int_equal(lm_quant_f32_to_e4m3(middle), b + (b & 1));
        assert_int_equal(lm_quant_f32_to_e4m3(nextafterf(middle, 0)), b);
        assert_int_equal(lm_quant_f32_to_e4m3(nextafterf(middle, sign * INFINITY)), b + 1);
    }
    assert_int_equal(lm_quant_f32_to_e4m3(INFINITY), 0x7e);
    assert_int_equal(lm_quant_f32_to_e4m3(-1e9f), 0xfe);
    assert_int_equal(lm_quant_e8m0_above(1.0f), 127);
    assert_int_equal(lm_quant_e8m0_above(nextafterf(1.0f, 2)), 128);
    assert_int_equal(lm_quant_e8m0_above(0x1p-127f), 0);
    assert_int_equal(lm_quant_e8m0_above(nextafterf(0x1p-127f, 1)), 1);
    assert_int_equal(lm_quant_e8m0_above(0x1p-149f), 0);
    assert_int_equal(lm_quant_e8m0_above(INFINITY), 254);
    assert_true(lm_quant_e8m0_to_f32(0) == 0x1p-127f && lm_quant_e8m0_to_f32(254) == 0x1p127f);
    /* ties of E2M1 go to the smaller magnitude, as in the reference */
    static const float TIES[] = { 0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5.0f };
    for (unsigned c = 0; c < 7; c++) {
        assert_int_equal(lm_quant_f32_to_e2m1(TIES[c]), c);
        assert_int_equal(lm_quant_f32_to_e2m1(nextafterf(TIES[c], 9)), c + 1);
        assert_int_equal(lm_quant_f32_to_e2m1(-TIES[c]), c ? c + 8 : 0);
        assert_int_equal(lm_quant_f32_to_e2m1(-nextafterf(TIES[c], 9)), c + 9);
    }
    assert_int_equal(lm_quant_f32_to_e2m1(-0.0f), 0);
    assert_int_equal(lm_quant_f32_to_e2m1(NAN), 0);
}

static void formats_are_found_by_name_number_and_shape(void **state)
{
    size_t n = 0, n_gguf = 0;
    const lm_quant *q, *other;
    (void)state;
    for (; (q = lm_quant_at(n)) != NULL; n++) {
        assert_non_null(q->to_f32);
        assert_true(q->block_elems > 0 && q->block_elems <= MAX_BLOCK);
        assert_true(q->n_planes >= 1 && q->n_planes <= LM_QUANT_PLANES);
        for (int p = 0; p < LM_QUANT_PLANES; p++)
            assert_true((q->block_bytes[p] > 0) == (p < q->n_planes));
        assert_true(q->from_f32 || q->max_error == 0);
        assert_ptr_equal(lm_quant_by_name(q->name), q);
        for (size_t k = 0; k < n; k++) {
            other = lm_quant_at(k);
            assert_string_not_equal(other->name, q->name);
            assert_true(q->gguf_type < 0 || other->gguf_type != q->gguf_type);
        }
        if (q->gguf_type >= 0) {
            assert_ptr_equal(lm_quant_by_gguf_type((uint32_t)q->gguf_type), q);
            n_gguf++;
        }
        if (q->kind == LM_Q_AFFINE)
            assert_ptr_equal(lm_quant_affine(q->bits, q->block_elems, q->scale_kind), q);
        else
            assert_ptr_equal(lm_quant_of(q->kind), q);
    }
    assert_int_equal(n, N_FORMATS);
    assert_int_equal(n_gguf, 27);
    assert_null(lm_quant_at(SIZE_MAX));
    assert_null(lm_quant_by_name("q9_9"));
    assert_null(lm_quant_by_name(""));
    assert_null(lm_quant_by_name(NULL));
    assert_null(lm_quant_by_gguf_type(4)); /* Q4_2, long gone */
    assert_null(lm_quant_by_gguf_type(UINT32_MAX));
    assert_null(lm_quant_affine(7, 32, LM_Q_F16));
    assert_null(lm_quant_affine(4, 16, LM_Q_F16));
    assert_null(lm_quant_affine(4, 32, LM_Q_F64));
    assert_null(lm_quant_of(LM_Q_AFFINE));
    assert_string_equal(lm_quant_by_name("Q4_k")->name, "q4_K");
    assert_string_equal(lm_quant_affine(4, 64, LM_Q_BF16)->name, "affine4-g64-bf16");
    assert_int_equal(lm_quant_by_gguf_type(12)->kind, LM_Q_Q4_K);
    assert_int_equal(lm_quant_by_gguf_type(40)->kind, LM_Q_NVFP4);
}

static void rows_of_a_matrix_lie_a_stride_apart(void **state)
{
    static const uint8_t codes[4 * 64], scales[4 * 8], biases[4 * 8];
    const lm_quant *q = lm_quant_affine(4, 32, LM_Q_BF16);
    lm_matrix m = { q, { codes, scales, biases }, { 64, 8, 8 }, 4, 128, NULL };
    const uint8_t *at[LM_QUANT_PLANES];
    (void)state;
    assert_int_equal(lm_quant_row_bytes(q, 0, 128), 64);
    assert_int_equal(lm_quant_row_bytes(q, 1, 128), 8);
    assert_int_equal(lm_quant_row_bytes(lm_quant_of(LM_Q_Q6_K), 0, UINT64_C(1) << 40),
                     (UINT64_C(1) << 32) * 210);
    lm_matrix_row(&m, 3, at);
    assert_ptr_equal(at[0], codes + 192);
    assert_ptr_equal(at[2], biases + 24);
    lm_matrix part = lm_matrix_rows(m, 1, 2);
    assert_ptr_equal(part.plane[1], scales + 8);
    assert_int_equal(part.rows, 2);
    part = (lm_matrix){ lm_quant_of(LM_Q_F32), { codes }, { 64 }, 4, 16, NULL };
    lm_matrix_row(&part, 2, at);
    assert_ptr_equal(at[0], codes + 128);
    assert_null(at[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_gguf_type_decodes_to_the_golden_values),
        cmocka_unit_test(every_gguf_encoder_writes_the_golden_bytes),
        cmocka_unit_test(every_mlx_format_agrees_with_the_golden_pack_both_ways),
        cmocka_unit_test(errors_stay_within_the_stated_bound_and_come_near_it),
        cmocka_unit_test(zeros_and_equal_numbers_survive),
        cmocka_unit_test(strange_numbers_stay_in_their_block),
        cmocka_unit_test(any_bytes_decode_at_any_address_in_any_portion),
        cmocka_unit_test(halves_convert_exactly_and_round_to_even),
        cmocka_unit_test(small_floats_convert_exactly_and_round_to_even),
        cmocka_unit_test(formats_are_found_by_name_number_and_shape),
        cmocka_unit_test(rows_of_a_matrix_lie_a_stride_apart),
    };
    return cmocka_run_group_tests_name("quant", tests, NULL, NULL);
}
